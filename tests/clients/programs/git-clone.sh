# git clone and push
# needs: apt git
# credential: basic
# version: git --version
set -e
export GIT_TERMINAL_PROMPT=0
git clone -q "$URL/things.git" things
cat things/README
cd things
git -c user.name=a -c user.email=a@a.test commit -q --allow-empty -m two
git push -q origin "HEAD:refs/heads/$(cat /proc/sys/kernel/random/uuid)"
