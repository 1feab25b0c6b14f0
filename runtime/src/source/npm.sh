# Installs a package of npm, with what it needs, into the working directory, and prints on its standard output which version it
# is. Runs no script of any package.
#   $1 package   $2 version, range or tag, or nothing   $3 registry, or nothing   $4 whether a lock is on the standard input, or nothing
umask 022
exec 3>&1 1>&2
if [ -n "$3" ]; then
    export npm_config_registry="$3"
fi
if [ -n "$4" ]; then
    cat >package-lock.json
    # npm wants to see what the lock is of, and the lock says that.
    node -e '
const fs = require("fs");
const { packages } = JSON.parse(fs.readFileSync("package-lock.json", "utf8"));
fs.writeFileSync("package.json", JSON.stringify({ ...packages[""], private: true }));
'
    npm ci --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
else
    echo '{"private":true}' >package.json
    npm install --ignore-scripts --no-audit --no-fund --no-update-notifier --save-exact --loglevel=error "$1${2:+@$2}"
fi
# What the lock says of it.
node -e '
const { packages } = JSON.parse(require("fs").readFileSync("package-lock.json", "utf8"));
const { version, integrity } = packages["node_modules/" + process.argv[1]];
require("fs").writeSync(3, JSON.stringify({ version, integrity }) + "\n");
' "$1"
