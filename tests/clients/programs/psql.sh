# psql
# at: postgres
# credential: postgres
# version: $(ls /usr/lib/postgresql/*/bin/psql | tail -n 1) --version
# note: allowed without a login by `protocol = "tcp"`, with the gate's by `protocol = "postgres"`
"$(ls /usr/lib/postgresql/*/bin/psql | tail -n 1)" -tA "$URL" -c 'SELECT word FROM words'
