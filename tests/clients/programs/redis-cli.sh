# redis-cli
# needs: apt redis-tools/redis-cli
# at: redis
# credential: none
# version: redis-cli --version
# note: `protocol = "tcp"`: nothing is added to what nobody reads
redis-cli -h "$HOST" -p "$PORT" GET word
