"""The OAuth 2.0 server: Authlib behind Flask, over TLS. It keeps what it granted in memory."""
import threading
import time
import wsgiref.simple_server

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, InvalidClientError, TokenMixin, grants
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import Flask
from joserfc import jwt
from joserfc.errors import JoseError

SCOPE = "smtp.send"


class Client(ClientMixin):
    def __init__(self, client_id, secret, methods, key=None):
        self.client_id, self.secret, self.methods, self.key = client_id, secret, methods, key

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return ""

    def get_allowed_scope(self, scope):
        return scope if scope == SCOPE else ""

    def check_redirect_uri(self, redirect_uri):
        return False

    def check_client_secret(self, client_secret):
        return self.secret is not None and client_secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method in self.methods

    def check_response_type(self, response_type):
        return False

    def check_grant_type(self, grant_type):
        return grant_type in ("client_credentials", "refresh_token")


class Token(TokenMixin):
    def __init__(self, client, user, access, refresh, seconds):
        self.client, self.user, self.access, self.refresh = client, user, access, refresh
        self.issued, self.seconds, self.revoked = time.time(), seconds, False

    def check_client(self, client):
        return client.client_id == self.client.client_id

    def get_scope(self):
        return SCOPE

    def get_expires_in(self):
        return self.seconds

    def is_expired(self):
        return time.time() > self.issued + self.seconds

    def is_revoked(self):
        return self.revoked

    def get_user(self):
        return self.user

    def get_client(self):
        return self.client


class Issuer:
    """`seconds` is how long tokens are good for; it may be changed while it runs."""

    def __init__(self, context, clients, first_refresh):
        self.clients = {client.client_id: client for client in clients}
        self.tokens, self.seconds, self.asked = [], 3600, []
        if first_refresh:
            client, refresh = first_refresh
            # As if somebody had signed in once.
            self.tokens.append(Token(self.clients[client], "somebody", "no-access-token", refresh, 0))
        app = Flask("issuer")
        self.server = AuthorizationServer(app, query_client=self.clients.get, save_token=self.save)
        self.server.register_token_generator("default", self.generate)
        self.register()
        app.post("/token")(self.token)
        app.post("/introspect")(lambda: self.server.create_endpoint_response("introspection"))
        self.httpd = wsgiref.simple_server.make_server("localhost", 0, app, handler_class=Quiet)
        self.port = self.httpd.server_port
        self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True)
        self.url = f"https://localhost:{self.port}/token"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def token(self):
        from flask import request

        self.asked.append(request.form.get("grant_type"))
        return self.server.create_token_response()

    def generate(self, grant_type, client, user=None, scope=None, expires_in=None, include_refresh_token=True):
        from authlib.common.security import generate_token

        # As long as Microsoft's: the login does not fit into one command.
        token = {"token_type": "Bearer", "access_token": generate_token(1800), "expires_in": self.seconds}
        if grant_type == "refresh_token":
            token["refresh_token"] = generate_token(48)
        return token

    def save(self, token, request):
        granted = Token(
            request.client, request.user, token["access_token"], token.get("refresh_token"), token["expires_in"]
        )
        self.tokens.append(granted)

    def revoke_access(self):
        """Takes back what was granted so far, but for the refresh tokens."""
        for token in self.tokens:
            token.access = None

    def is_good(self, access):
        return any(token.access == access and not token.is_expired() for token in self.tokens)

    def register(self):
        issuer = self

        class Refresh(grants.RefreshTokenGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "none"]
            INCLUDE_NEW_REFRESH_TOKEN = True

            def authenticate_refresh_token(self, refresh_token):
                found = [t for t in issuer.tokens if t.refresh == refresh_token and not t.revoked]
                return found[0] if found else None

            def authenticate_user(self, refresh_token):
                return refresh_token.user

            def revoke_old_credential(self, refresh_token):
                refresh_token.revoked = True

        class Application(grants.ClientCredentialsGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", JWTBearerClientAssertion.CLIENT_AUTH_METHOD]

        class Introspection(IntrospectionEndpoint):
            CLIENT_AUTH_METHODS = ["client_secret_post"]

            def check_permission(self, token, client, request):
                return client.client_id == "mail-server"

            def query_token(self, token_string, token_type_hint):
                found = [t for t in issuer.tokens if t.access == token_string]
                return found[0] if found else None

            def introspect_token(self, token):
                return {"active": not token.is_expired(), "client_id": token.client.client_id, "scope": SCOPE}

        class Signed(JWTBearerClientAssertion):
            def __init__(self):
                super().__init__()
                self.seen = set()

            def validate_jti(self, claims, jti):
                fresh = jti not in self.seen
                self.seen.add(jti)
                return fresh

            def get_audiences(self):
                return [issuer.url]

            def resolve_client_public_key(self, client):
                return client.key

            def process_assertion_claims(self, assertion, resolve_key):
                # By default joserfc knows the recommended algorithms alone; Microsoft wants this one.
                try:
                    token = jwt.decode(assertion, resolve_key, algorithms=["PS256"])
                except JoseError as error:
                    raise InvalidClientError(description="the signature is not good") from error
                self.verify_claims(token.claims)
                return token.claims

        self.server.register_client_auth_method(Signed.CLIENT_AUTH_METHOD, Signed())
        self.server.register_grant(Refresh)
        self.server.register_grant(Application)
        self.server.register_endpoint(Introspection)


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass
