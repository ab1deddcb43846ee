//! ID tokens: whose they are, if they are what they say. Pure, so every rule is tested by itself.
//!
//! OpenID Connect Core 1.0 §3.1.3.7; RFC 7515 for the signature, RFC 7517 for the keys. Only signatures
//! of public keys count: `none`, and HMAC with what is public, are no algorithms here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use spaceport_core::Timestamp;
use subtle::ConstantTimeEq;

use crate::sign_in::oidc::Problem;

/// Clocks may differ by so many seconds.
const SKEW_S: i64 = 60;
/// Longest token that is looked at.
const MAX_TOKEN: usize = 64 << 10;
/// Longest subject. OpenID Connect Core 1.0 §2: 255 characters.
const MAX_SUBJECT: usize = 255;

/// What a token must say.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) now: Timestamp,
}

/// What a provider says of somebody.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claims {
    /// Who it is there; never empty.
    pub(crate) subject: String,
    /// All claims.
    pub(crate) all: Map<String, Value>,
}

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// There may be a newer key.
    #[error("it is signed with a key that the provider does not publish ({0})")]
    UnknownKey(String),
    /// It is from another time.
    #[error("{0}")]
    Time(String),
    /// Anything else.
    #[error("{0}")]
    Wrong(String),
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Time(_) => Self::Clock(invalid.to_string()),
            Invalid::UnknownKey(_) | Invalid::Wrong(_) => Self::Token(invalid.to_string()),
        }
    }
}

fn wrong(why: impl Into<String>) -> Invalid {
    Invalid::Wrong(why.into())
}

/// RFC 7517 §5.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Keys {
    #[serde(default)]
    keys: Vec<Value>,
}

/// RFC 7517 §4, RFC 7518 §6, RFC 8037 §2.
#[derive(Debug, Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// RFC 7515 §4.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Checks a token and gives what it says.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn check(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, Invalid> {
    if token.len() > MAX_TOKEN {
        return Err(wrong("it is too long"));
    }
    let no_token = || wrong("it is not a signed JWT");
    let (signed, signature) = token.rsplit_once('.').ok_or_else(no_token)?;
    let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or_else(no_token)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| no_token());
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| no_token())?;
    if header.crit.is_some() {
        return Err(wrong("it asks for an extension that nobody knows here"));
    }
    check_signature(&header, signed.as_bytes(), &decode(signature)?, keys)?;
    let all: Map<String, Value> = serde_json::from_slice(&decode(claims)?).map_err(|_| no_token())?;
    check_claims(all, expected)
}

fn check_signature(header: &Header, signed: &[u8], signature: &[u8], keys: &Keys) -> Result<(), Invalid> {
    let Some(scheme) = Scheme::named(&header.alg) else {
        let alg: String = header.alg.chars().take(20).collect();
        return Err(wrong(format!("it is signed with {alg:?}, which does not count here")));
    };
    // A key of a kind that is unknown here is no reason to overlook the others (RFC 7517 §5).
    let keys = keys.keys.iter().filter_map(|key| Key::deserialize(key).ok());
    let named = |key: &Key| header.kid.is_none() || header.kid == key.kid;
    let fits = |key: &Key| {
        key.usage.as_deref().is_none_or(|usage| usage == "sig")
            && key.alg.as_deref().is_none_or(|alg| alg == header.alg)
            && scheme.fits(key)
    };
    let mut known = false;
    for key in keys.filter(|key| named(key) && fits(key)) {
        known = true;
        if scheme.verify(&key, signed, signature) {
            return Ok(());
        }
    }
    if known {
        return Err(wrong("its signature is not the provider's"));
    }
    let kid = header.kid.as_deref().unwrap_or("without a name");
    Err(Invalid::UnknownKey(kid.chars().take(60).collect()))
}

/// RFC 7518 §3.1, RFC 8037 §3.1: what is asymmetric of it.
enum Scheme {
    Rsa(&'static signature::RsaParameters),
    Curve { kty: &'static str, crv: &'static str, algorithm: &'static dyn signature::VerificationAlgorithm },
}

impl Scheme {
    fn named(alg: &str) -> Option<Self> {
        let ec = |crv, algorithm| Self::Curve { kty: "EC", crv, algorithm };
        Some(match alg {
            "RS256" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => ec("P-256", &signature::ECDSA_P256_SHA256_FIXED),
            "ES384" => ec("P-384", &signature::ECDSA_P384_SHA384_FIXED),
            "EdDSA" => Self::Curve { kty: "OKP", crv: "Ed25519", algorithm: &signature::ED25519 },
            _ => return None,
        })
    }

    fn fits(&self, key: &Key) -> bool {
        match self {
            Self::Rsa(_) => key.kty == "RSA",
            Self::Curve { kty, crv, .. } => key.kty == *kty && key.crv.as_deref() == Some(crv),
        }
    }

    fn verify(&self, key: &Key, signed: &[u8], signature: &[u8]) -> bool {
        let number = |text: &Option<String>| text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        match self {
            Self::Rsa(parameters) => {
                let Some((n, e)) = number(&key.n).zip(number(&key.e)) else { return false };
                // Some providers write a leading zero, which RFC 7518 §6.3.1.1 forbids and `ring` refuses.
                let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
                RsaPublicKeyComponents { n, e: e.as_slice() }.verify(parameters, signed, signature).is_ok()
            }
            Self::Curve { kty, algorithm, .. } => {
                let Some(mut point) = number(&key.x) else { return false };
                if *kty == "EC" {
                    let Some(y) = number(&key.y) else { return false };
                    // SEC 1 §2.3.3: uncompressed.
                    point.insert(0, 4);
                    point.extend(y);
                }
                UnparsedPublicKey::new(*algorithm, point).verify(signed, signature).is_ok()
            }
        }
    }
}

fn check_claims(all: Map<String, Value>, expected: &Expected<'_>) -> Result<Claims, Invalid> {
    let text = |name: &str| all.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err(wrong("it is of another issuer"));
    }
    let audience: Vec<&str> = match all.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return Err(wrong("it was made for another client"));
    }
    let authorized = match all.get("azp") {
        Some(azp) => azp == expected.client_id,
        None => audience.len() == 1,
    };
    if !authorized {
        return Err(wrong("it was given to another client"));
    }
    let nonce = text("nonce").unwrap_or("");
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(wrong("it answers another question (its nonce differs)"));
    }
    check_times(&all, expected.now)?;
    let subject = text("sub").filter(|subject| !subject.is_empty() && subject.len() <= MAX_SUBJECT);
    // Databases have no NUL in a text.
    let subject = subject.filter(|subject| !subject.chars().any(char::is_control));
    let subject = subject.ok_or_else(|| wrong("it does not say who it is about"))?.to_owned();
    Ok(Claims { subject, all })
}

fn check_times(all: &Map<String, Value>, now: Timestamp) -> Result<(), Invalid> {
    let now = now.as_millis().div_euclid(1000);
    // A claim of another type is not one that is absent.
    let time = |name: &str| match all.get(name) {
        None => Ok(None),
        Some(value) => {
            let seconds = value.as_i64().or_else(|| value.as_f64().filter(|time| time.abs() < 1e15).map(rounded));
            seconds.map(Some).ok_or_else(|| wrong(format!("its '{name}' is not a time")))
        }
    };
    let expires = time("exp")?.ok_or_else(|| wrong("it does not say when it expires"))?;
    if now >= expires.saturating_add(SKEW_S) {
        return Err(Invalid::Time(format!("it expired {} s ago by this server's clock", now.saturating_sub(expires))));
    }
    let issued = time("iat")?.ok_or_else(|| wrong("it does not say when it was made"))?;
    for begins in [Some(issued), time("nbf")?].into_iter().flatten() {
        if begins > now.saturating_add(SKEW_S) {
            let early = begins.saturating_sub(now);
            return Err(Invalid::Time(format!("it begins in {early} s by this server's clock")));
        }
    }
    Ok(())
}

/// A time with a fraction, in whole seconds.
fn rounded(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "it is below 10^15")]
    let whole = seconds.floor() as i64;
    whole
}
