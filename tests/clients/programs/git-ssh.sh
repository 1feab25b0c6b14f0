# git over ssh
# needs: apt git, apt openssh-client/ssh
# at: ssh
# credential: none
# version: ssh -V
# note: `protocol = "tcp"`: the key that logs in is the agent's own
export GIT_SSH_COMMAND="ssh -o StrictHostKeyChecking=accept-new -o ConnectTimeout=20 -p $PORT"
git clone -q "ssh://git@$HOST/things.git" things && cat things/README
