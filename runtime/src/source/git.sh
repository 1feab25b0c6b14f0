# Checks one commit of a repository out into the working directory, and prints on its standard output which. Runs nothing that
# the repository brings: no hook, no filter, no helper, no protocol but HTTP.
#   $1 repository   $2 branch, tag or commit, or nothing   $3 submodules: yes or nothing   $4 large files (LFS): yes or nothing
umask 022
exec 3>&1 1>&2
wanted=${2:-HEAD}
git init --quiet .
git remote add origin "$1"
if git fetch --quiet --depth 1 --no-tags origin "$wanted"; then
    git checkout --quiet --detach FETCH_HEAD
else
    # A commit by a part of its number, or one that the server does not give away alone: its history says where it is.
    case "$wanted" in *[!0-9a-f]* | ? | ?? | ???) exit 1 ;; esac
    echo "looking for the commit $wanted in the history"
    git fetch --quiet --filter=blob:none --tags origin '+refs/heads/*:refs/remotes/origin/*'
    git checkout --quiet --detach "$(git rev-parse --verify --quiet "$wanted^{commit}")"
fi
if [ -n "$3" ]; then
    git submodule --quiet update --init --recursive --depth 1
fi
if [ -n "$4" ]; then
    git lfs install --local --skip-repo
    git lfs pull
fi
printf '{"version":"%s"}\n' "$(git rev-parse --verify HEAD)" >&3
