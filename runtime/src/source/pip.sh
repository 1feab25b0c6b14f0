# Installs a package of pip, with what it needs, into a virtual environment in the working directory, and prints on its standard
# output which version it is. Takes wheels alone, which run nothing when they are installed; nothing of them is run here.
#   $1 package   $2 version or specifiers, or nothing   $3 index, or nothing   $4 whether requirements are on the standard input, or nothing
umask 022
exec 3>&1 1>&2
case "$2" in '' | [\<\>=~!]*) wanted="$1$2" ;; *) wanted="$1==$2" ;; esac
if [ -n "$4" ]; then
    cat >/tmp/requirements.txt
    set -- "$1" "$3" --require-hashes --requirement /tmp/requirements.txt
else
    set -- "$1" "$3" "$wanted"
fi
package=$1 index=$2
shift 2
if command -v uv >/dev/null; then
    uv venv --quiet --no-config --python python3 --clear .
    uv pip install --quiet --no-config --no-cache --only-binary :all: --python bin/python ${index:+--default-index "$index"} "$@"
else
    python3 -m venv .
    # A package may name an archive that its own code would make a wheel of, and for such a one `--only-binary` says nothing.
    bin/python -I -c '
import runpy, sys
STARTS = {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"}
def alone(event, _):
    if event in STARTS:
        raise PermissionError("only wheels are taken: nothing is built, and no program is started")
sys.addaudithook(alone)
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
' install --quiet --no-input --disable-pip-version-check --no-cache-dir --only-binary :all: \
        ${index:+--index-url "$index"} "$@"
fi
# Read as text by the system's Python: the environment's own would run what a package left for its start.
python3 -I -c '
import glob, json, os, re, sys
plain = lambda name: re.sub("[-_.]+", "-", name).lower()
for about in glob.glob("lib/python*/site-packages/*.dist-info"):
    name, _, version = os.path.basename(about).removesuffix(".dist-info").partition("-")
    if plain(name) == plain(sys.argv[1].partition("[")[0]):
        os.write(3, json.dumps({"version": version}).encode() + b"\n")
        break
else:
    sys.exit("pip installed it, but it is not there")
' "$package"
