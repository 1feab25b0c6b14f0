# poetry
# needs: pip poetry
# credential: basic
# version: python3 -m poetry --version
# heavy: it makes an environment each time
set -e
cat > pyproject.toml <<END
[project]
name = "mine"
version = "1.0"
requires-python = ">=3.8"
[tool.poetry]
package-mode = false
[[tool.poetry.source]]
name = "things"
url = "$URL/simple/"
priority = "primary"
END
export POETRY_REQUESTS_MAX_RETRIES=0 POETRY_VIRTUALENVS_IN_PROJECT=true
python3 -m poetry add --no-interaction tiny-thing
python3 -m poetry run python -m tiny_thing
