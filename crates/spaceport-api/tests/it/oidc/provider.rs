//! An OpenID Connect provider, small and real: it listens on a port, keeps codes for one use, checks the
//! client, the redirect address and PKCE, and signs with RS256 or ES256. A test may make it lie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub const CLIENT: &str = "spaceport";
pub const SECRET: &str = "a secret/with:signs";
/// When the clock of a test begins.
const NOW: i64 = 1_767_323_045;

/// What tokens are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    Rs256,
    Es256,
    /// Another key than the published one, under its name.
    OtherKey,
    /// A key that nobody has published, under its own name.
    UnknownKey,
    /// No signature at all.
    None,
    /// HMAC with the published key as the secret.
    Hs256,
}

type Change = Box<dyn Fn(&mut Map<String, Value>) + Send>;

/// What the provider does; each test changes what it is about.
pub struct Behaviour {
    pub signature: Signature,
    /// Claims of the person who signs in.
    pub claims: Value,
    /// What `userinfo` says; null has no such endpoint.
    pub userinfo: Value,
    /// Changes the claims of a token.
    pub change: Change,
    /// Changes the document.
    pub document: Change,
    /// What the answer says of its issuer; `None` says nothing.
    pub iss: Option<String>,
    /// Answers everything with this status.
    pub broken: Option<u16>,
    pub now: i64,
    pub token_calls: u32,
    pub key_calls: u32,
    /// The key that is published.
    pub ec: u8,
}

struct Code {
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
}

struct Inner {
    behaviour: Mutex<Behaviour>,
    codes: Mutex<HashMap<String, Code>>,
    issuer: String,
    rsa: RsaKeyPair,
    ec: Vec<EcdsaKeyPair>,
}

#[derive(Clone)]
pub struct Provider(Arc<Inner>);

impl Provider {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        spaceport_testkit::choose_tls();
        let random = SystemRandom::new();
        let scheme = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = (0..3).map(|_| {
            let key = EcdsaKeyPair::generate_pkcs8(scheme, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(scheme, key.as_ref(), &random).unwrap()
        });
        let behaviour = Behaviour {
            signature: Signature::Rs256,
            claims: json!({"sub": "1", "preferred_username": "maya", "name": "Maya Lind",
                "email": "maya@lab.example", "email_verified": true, "groups": []}),
            userinfo: Value::Null,
            change: Box::new(|_| {}),
            document: Box::new(|_| {}),
            iss: Some(issuer.clone()),
            broken: None,
            now: NOW,
            token_calls: 0,
            key_calls: 0,
            ec: 0,
        };
        let provider = Self(Arc::new(Inner {
            behaviour: Mutex::new(behaviour),
            codes: Mutex::default(),
            issuer,
            rsa: RsaKeyPair::from_pkcs8(include_bytes!("rsa-for-tests.pk8")).unwrap(),
            ec: ec.collect(),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(provider.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Changes what it does.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.0.behaviour.lock().unwrap());
    }

    pub fn get<T>(&self, look: impl FnOnce(&Behaviour) -> T) -> T {
        look(&self.0.behaviour.lock().unwrap())
    }

    fn broken(&self) -> Option<Response> {
        let status = self.get(|behaviour| behaviour.broken)?;
        Some((StatusCode::from_u16(status).unwrap(), "<h1>It is broken</h1>").into_response())
    }

    fn sign(&self, claims: &Map<String, Value>) -> String {
        let (signature, published) = self.get(|behaviour| (behaviour.signature, behaviour.ec));
        let (alg, kid) = match signature {
            Signature::Rs256 => ("RS256", "rsa".to_owned()),
            Signature::Es256 | Signature::OtherKey => ("ES256", format!("ec{published}")),
            Signature::UnknownKey => ("ES256", "ec9".to_owned()),
            Signature::None => ("none", "rsa".to_owned()),
            Signature::Hs256 => ("HS256", "rsa".to_owned()),
        };
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(json!({"alg": alg, "kid": kid, "typ": "JWT"})), encode(json!(claims)));
        let random = SystemRandom::new();
        let bytes = match signature {
            Signature::Rs256 => {
                let mut bytes = vec![0; self.0.rsa.public().modulus_len()];
                self.0.rsa.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut bytes).unwrap();
                bytes
            }
            Signature::Es256 => {
                self.0.ec[usize::from(published)].sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
            }
            Signature::OtherKey | Signature::UnknownKey => {
                self.0.ec[2].sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
            }
            Signature::None => Vec::new(),
            Signature::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.rsa.public().as_ref());
                hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

async fn document(State(provider): State<Provider>) -> Response {
    if let Some(broken) = provider.broken() {
        return broken;
    }
    let issuer = provider.issuer();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize?theme=lab"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "authorization_response_iss_parameter_supported": true,
    });
    let document = document.as_object_mut().unwrap();
    provider.get(|behaviour| {
        if !behaviour.userinfo.is_null() {
            document.insert("userinfo_endpoint".to_owned(), json!(format!("{issuer}/userinfo")));
        }
        (behaviour.document)(document);
    });
    Json(document.clone()).into_response()
}

async fn keys(State(provider): State<Provider>) -> Response {
    if let Some(broken) = provider.broken() {
        return broken;
    }
    provider.set(|behaviour| behaviour.key_calls += 1);
    let published = provider.get(|behaviour| behaviour.ec);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(provider.0.rsa.public());
    let point = provider.0.ec[usize::from(published)].public_key().as_ref().to_vec();
    Json(json!({"keys": [
        {"kty": "oct", "kid": "rsa", "k": "AA"},
        {"kty": "something new", "kid": 7},
        {"kty": "RSA", "kid": "rsa", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(&rsa.n),
            "e": encode(&rsa.e)},
        {"kty": "EC", "crv": "P-256", "kid": format!("ec{published}"), "alg": "ES256",
            "x": encode(&point[1..33]), "y": encode(&point[33..])},
    ]}))
    .into_response()
}

async fn authorize(State(provider): State<Provider>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
    assert_eq!((text("client_id").as_str(), text("response_type").as_str()), (CLIENT, "code"));
    assert_eq!((text("theme").as_str(), text("code_challenge_method").as_str()), ("lab", "S256"));
    assert!(text("scope").split(' ').any(|scope| scope == "openid"));
    for secret in ["state", "nonce", "code_challenge"] {
        assert_eq!(text(secret).len(), 43, "{secret} has 256 bits");
    }
    let code = format!("code {}/{}", provider.0.codes.lock().unwrap().len(), text("state"));
    let redirect_uri = text("redirect_uri");
    let grant =
        Code { nonce: Some(text("nonce")), challenge: text("code_challenge"), redirect_uri: redirect_uri.clone() };
    provider.0.codes.lock().unwrap().insert(code.clone(), grant);
    let mut back = url::Url::parse(&redirect_uri).unwrap();
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", &text("state"));
    if let Some(iss) = provider.get(|behaviour| behaviour.iss.clone()) {
        back.query_pairs_mut().append_pair("iss", &iss);
    }
    (StatusCode::FOUND, [(header::LOCATION, back.to_string())]).into_response()
}

async fn token(State(provider): State<Provider>, headers: HeaderMap, body: String) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    if let Some(broken) = provider.broken() {
        return broken;
    }
    provider.set(|behaviour| behaviour.token_calls += 1);
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(CLIENT), encoded(SECRET))));
    let by_header = headers.get("authorization").is_some_and(|value| *value == *basic);
    let text = |name: &str| form.get(name).cloned().unwrap_or_default();
    let by_form = text("client_id") == CLIENT && text("client_secret") == SECRET;
    if !(by_header || by_form) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    assert_eq!(text("grant_type"), "authorization_code");
    // Taken: a code is good once.
    let Some(code) = provider.0.codes.lock().unwrap().remove(&text("code")) else { return refuse("invalid_grant") };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(text("code_verifier").as_bytes()));
    if challenge != code.challenge || text("redirect_uri") != code.redirect_uri {
        return refuse("invalid_grant");
    }
    let claims = provider.get(|behaviour| {
        let mut claims = behaviour.claims.as_object().unwrap().clone();
        let own = json!({"iss": provider.issuer(), "aud": CLIENT, "iat": behaviour.now, "exp": behaviour.now + 300,
            "nonce": code.nonce});
        claims.extend(own.as_object().unwrap().clone());
        (behaviour.change)(&mut claims);
        claims
    });
    let answer = json!({"access_token": "let me ask", "token_type": "Bearer", "expires_in": 300,
        "id_token": provider.sign(&claims)});
    Json(answer).into_response()
}

async fn userinfo(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    if headers.get("authorization").is_none_or(|value| value != "Bearer let me ask") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(provider.get(|behaviour| behaviour.userinfo.clone())).into_response()
}
