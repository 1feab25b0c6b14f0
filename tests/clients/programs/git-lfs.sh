# git lfs
# needs: apt git, apt git-lfs
# credential: basic
# version: git lfs version
set -e
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=lfs.locksverify GIT_CONFIG_VALUE_0=false
branch=$(cat /proc/sys/kernel/random/uuid)
git lfs install
git clone -q "$URL/things.git" things
cd things
git lfs track '*.big'
(cat README && head -c 300000 /dev/urandom) > one.big
git add .
git -c user.name=a -c user.email=a@a.test commit -qm large
git push -q origin "HEAD:refs/heads/$branch"
cd ..
git clone -q -b "$branch" "$URL/things.git" again
cmp things/one.big again/one.big
head -n 1 again/one.big
