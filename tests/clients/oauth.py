"""An authorization server built with Authlib, and a resource server that takes only what it gave: they judge the gate's grants as
a vendor's would. Speaks TLS with the given certificate; prints its port when it listens, and then a line for each grant.

    oauth.py CERTIFICATE KEY PUBLIC_KEY
"""

import json
import os
import secrets
import sys
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import BaseGrant, ClientMixin, InvalidGrantError, TokenEndpointMixin, TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7523 import JWTBearerGrant
from flask import Flask, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

CERTIFICATE, KEY, PUBLIC_KEY = sys.argv[1:4]
SECRET = "s3cret/+ &=:%ü"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"

public_key = RSAKey.import_key(open(PUBLIC_KEY).read())
app = Flask(__name__)
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": 600, "refresh_token": 2}
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True


def tell(**what):
    print(json.dumps(what), flush=True)


class Client(ClientMixin):
    def __init__(self, name, method):
        self.name, self.method = name, method

    def get_client_id(self):
        return self.name

    def get_allowed_scope(self, scope):
        return " ".join(word for word in (scope or "").split() if word in ("read", "write"))

    def check_client_secret(self, client_secret):
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.method

    def check_grant_type(self, grant_type):
        return True


clients = {
    "by header": Client("by header", "client_secret_basic"),
    "by form": Client("by form", "client_secret_post"),
    "public": Client("public", "none"),
    "signer@example": Client("signer@example", "none"),
}


class Token(TokenMixin):
    def __init__(self, client, token):
        self.client, self.token, self.revoked = client, token, False
        self.until = time.time() + token.get("expires_in", 0)

    def check_client(self, client):
        return client.get_client_id() == self.client

    def get_scope(self):
        return self.token.get("scope", "")

    def get_expires_in(self):
        return self.token["expires_in"]

    def is_expired(self):
        return time.time() > self.until

    def is_revoked(self):
        return self.revoked


tokens = []


def save(token, request):
    tokens.append(Token(request.client.get_client_id(), dict(token)))
    tell(grant=request.form["grant_type"], client=request.client.get_client_id(), scope=token.get("scope"))


class OwnName(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class Refresh(RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["none", "client_secret_basic"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        for token in tokens:
            if token.token.get("refresh_token") == refresh_token:
                if not token.revoked:
                    return token
                # As RFC 9700 has it: who shows an old one gives the whole family away.
                tell(reused=True)
                for one in tokens:
                    one.revoked = True
        return None

    def authenticate_user(self, refresh_token):
        return "ann"

    def revoke_old_credential(self, refresh_token):
        refresh_token.revoked = True


class Signed(JWTBearerGrant):
    def resolve_issuer_client(self, issuer):
        return clients.get(issuer)

    def resolve_client_public_key(self, client):
        return public_key

    def authenticate_user(self, subject):
        return subject

    def get_audiences(self):
        return [f"https://localhost:{server.port}/token"]

    def has_granted_permission(self, client, user):
        return True


class Exchange(BaseGrant, TokenEndpointMixin):
    GRANT_TYPE = EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post"]

    def validate_token_request(self):
        form = self.request.form
        self.request.client = self.authenticate_token_endpoint_client()
        if form.get("subject_token_type") != JWT or form.get("audience") != "crm":
            raise InvalidGrantError()
        try:
            claims = jwt.decode(form["subject_token"], public_key).claims
        except Exception as error:
            raise InvalidGrantError() from error
        self.request.user = claims["sub"]

    def create_token_response(self):
        token = self.generate_token(scope="read", user=self.request.user, include_refresh_token=False)
        token["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
        self.save_token(token)
        return 200, token, self.TOKEN_RESPONSE_HEADER


issuer = AuthorizationServer(app, query_client=clients.get, save_token=save)
issuer.register_grant(OwnName)
issuer.register_grant(Refresh)
issuer.register_grant(Signed)
issuer.register_grant(Exchange)
tokens.append(Token("public", {"refresh_token": "first-refresh", "scope": "read", "expires_in": 0}))


@app.post("/token")
def token():
    return issuer.create_token_response()


@app.post("/app/installations/42/access_tokens")
def installation():
    """As GitHub documents it: claims of at most ten minutes, by the app, signed with its key; 201 and an end in RFC 3339."""
    kind, _, signed = request.headers["authorization"].partition(" ")
    decoded = jwt.decode(signed, public_key, algorithms=["RS256"])
    claims, now = decoded.claims, time.time()
    good = kind == "Bearer" and claims["iss"] == "Iv1.app" and claims["iat"] <= now < claims["exp"] <= now + 600
    good = good and request.headers.get("user-agent") and request.json == {"permissions": {"contents": "read"}}
    if not good:
        return jsonify(message="Bad credentials"), 401
    value = "ghs_" + secrets.token_hex(18)
    tokens.append(Token("app", {"access_token": value, "expires_in": 3600, "scope": "contents"}))
    tell(grant="installation", client="app", scope="contents")
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 3600))
    return jsonify(token=value, expires_at=end, permissions={"contents": "read"}), 201


@app.get("/api/<name>/")
def resource(name):
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    for token in tokens:
        if kind == "Bearer" and token.token.get("access_token") == value and not token.is_expired():
            return jsonify(client=token.client, scope=token.get_scope())
    return jsonify(error="invalid_token"), 401


server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=(CERTIFICATE, KEY))
print(server.port, flush=True)
sys.stderr = open(os.devnull, "w")
server.serve_forever()
