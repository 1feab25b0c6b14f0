# openssl s_client
# needs: apt openssl
# version: openssl version
# note: knows no variables; `-proxy` takes the gate too
printf 'GET /hello HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n' "$HOST" "$PORT" |
    openssl s_client -quiet -verify_return_error -CAfile "$SSL_CERT_FILE" -servername "$HOST" -connect "$HOST:$PORT" 2>&1 | tee said
grep -q '^HTTP/1.1 200' said
