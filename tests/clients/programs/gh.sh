# gh (GitHub's command line)
# needs: apt gh
# version: gh --version
# note: asks for a token before it asks anybody; any word will do
export GH_HOST="$HOST:$PORT" GH_ENTERPRISE_TOKEN=a-key-of-nobody GH_NO_UPDATE_NOTIFIER=1 GH_PROMPT_DISABLED=1
gh api json --jq .says
