# apt
# needs: apt apt/apt-get
# version: apt-get --version
set -e
mkdir -p lists/partial cache/archives/partial etc
echo "deb [trusted=yes] $URL/debian ./" > etc/sources.list
cat > apt.conf <<END
Dir::Etc "$PWD/etc"; Dir::State "$PWD"; Dir::State::status "$PWD/status"; Dir::Cache "$PWD/cache"; Dir::Log "$PWD";
Acquire::Retries "0"; APT::Update::Error-Mode "any";
END
: > status
export APT_CONFIG="$PWD/apt.conf"
apt-get update
apt-get download tiny-thing
dpkg-deb --field tiny-thing_1.0_all.deb Description
