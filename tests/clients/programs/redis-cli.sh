# redis-cli
# needs: apt redis-tools/redis-cli
# at: redis
# credential: redis
# version: redis-cli --version
# note: allowed without a login by `protocol = "tcp"`, with the gate's by `protocol = "redis"`
redis-cli -h "$HOST" -p "$PORT" GET word
