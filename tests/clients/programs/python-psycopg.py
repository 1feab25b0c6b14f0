# psycopg (Python)
# needs: pip psycopg[binary]
# at: postgres
# credential: postgres
# version: python3 -c 'import psycopg; print(psycopg.__version__)'
# note: as psql
import os

import psycopg

with psycopg.connect(os.environ["URL"], connect_timeout=20) as connection:
    print(connection.execute("SELECT word FROM words WHERE word <> %s", ["x"]).fetchone()[0])
