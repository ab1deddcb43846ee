//! Answers the proxy gives itself: a page for a person, JSON in the hub's error format for a
//! program.

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, VARY,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use spaceport_core::route::{Route, Standing};
use spaceport_core::{Reason, SpaceStage, Timestamp};

use crate::body::ProxyBody;
use crate::pages::{self, Mood, Page, elapsed};
use crate::vet::Refused;

const X_ERROR_CODE: HeaderName = HeaderName::from_static("x-error-code");
const X_ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Seconds between two looks at something that is on its way.
const SOON_S: u32 = 3;
/// Between two looks at something that waits for its turn.
const LATER_S: u32 = 10;
/// When a page of a Space that only its owner can mend looks again.
const MENDED_S: u32 = 30;
const PRODUCT: &str = "Spaceport";

/// Whether a request wants a page, because a person looks at the answer.
pub(crate) fn wants_page(parts: &Parts) -> bool {
    (parts.method == Method::GET || parts.method == Method::HEAD)
        && parts.headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")))
        && parts.headers.get(SEC_FETCH_MODE).is_none_or(|mode| mode == "navigate")
}

/// A request that is not let in.
pub(crate) fn refused(Refused(why): Refused, page: bool) -> Response<ProxyBody> {
    let text = "Something between you and this server sent a request that cannot be understood.";
    Failure { status: StatusCode::BAD_REQUEST, code: "BadRequest", message: why, space: None, retry: None }
        .answer(page, &plain(Mood::Wrong, PRODUCT, why, text))
}

/// No Space here, or none this visitor may know of: the two must not differ.
///
/// `sign_in` is where somebody who may see a private one signs in, for hosts below the domain of Spaces.
pub(crate) fn not_found(sign_in: Option<&str>, page: bool) -> Response<ProxyBody> {
    let (heading, message) = match sign_in {
        Some(_) => ("There is no Space here", "Space not found"),
        None => ("Nothing is served here", "Host not found"),
    };
    let text = match sign_in {
        Some(_) => {
            "Check the address: the Space may have been renamed or removed. Or it is private, and opens for \
             people with access once they have signed in."
        }
        None => "Check the address.",
    };
    let way = sign_in.map(|address| ("Sign in", address));
    let page_of = Page { way, ..plain(Mood::Calm, PRODUCT, heading, text) };
    Failure { status: StatusCode::NOT_FOUND, code: "RepoNotFound", message, space: None, retry: None }
        .answer(page, &page_of)
}

/// The same page again, for a browser that now has a cookie.
pub(crate) fn entered(address: HeaderValue, cookie: HeaderValue) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(LOCATION, address);
    headers.insert(SET_COOKIE, cookie);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same page at another host. Not for good: the name that was left may be taken.
pub(crate) fn moved(address: HeaderValue) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(LOCATION, address);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The hub did not answer: its handler failed.
pub(crate) fn hub_failed(page: bool) -> Response<ProxyBody> {
    let (message, text) = ("The hub could not answer", "Please try again. The server's log has the cause.");
    Failure { status: StatusCode::INTERNAL_SERVER_ERROR, code: "InternalError", message, space: None, retry: None }
        .answer(page, &plain(Mood::Wrong, PRODUCT, message, text))
}

/// What became of a request to an app that should have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upset {
    /// It could not be reached.
    Unreachable,
    /// All its connections are in use.
    Busy,
    /// It closed the connection or did not speak HTTP.
    Broken,
    /// It took too long.
    Late,
    /// It was not the app's fault: the body of the request could not be read.
    Unreadable,
}

/// An app that should have answered did not.
pub(crate) fn upset(route: &Route, upset: Upset, page: bool) -> Response<ProxyBody> {
    let (status, code, message, text) = match upset {
        Upset::Unreachable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "SpaceUnreachable",
            "The app cannot be reached",
            "It may just be restarting. This page tries again by itself.",
        ),
        Upset::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "SpaceBusy",
            "The app is busy",
            "More people are using it than it can serve at once. This page tries again by itself.",
        ),
        Upset::Broken => (
            StatusCode::BAD_GATEWAY,
            "SpaceBadAnswer",
            "The app broke off",
            "It closed the connection or its answer is not HTTP. This page tries again by itself.",
        ),
        Upset::Late => (
            StatusCode::GATEWAY_TIMEOUT,
            "SpaceTimeout",
            "The app did not answer in time",
            "It accepted the request and sent no answer. Please try again.",
        ),
        Upset::Unreadable => return refused(Refused("The body of the request cannot be read"), page),
    };
    let retry = (upset != Upset::Late).then_some(SOON_S);
    let failure = Failure { status, code, message, space: Some((SpaceStage::Running, None)), retry };
    let page_of = Page {
        mood: Mood::Wrong,
        label: &label(route),
        heading: message,
        text,
        facts: &[],
        way: None,
        link: Some(&route.hub_page),
        refresh: retry,
    };
    failure.answer(page, &page_of)
}

/// The state of a Space that does not serve. The diagnosis' message and evidence may tell what is
/// only the owner's to know, so visitors get a sentence of ours.
pub(crate) fn standing(
    route: &Route,
    standing: &Standing,
    waking: bool,
    now: Timestamp,
    page: bool,
) -> Response<ProxyBody> {
    let Standing { stage, since, diagnosis } = standing;
    // Why it waits for hardware, where in the queue and for how long is for everybody who waits with it.
    let queue = diagnosis.as_ref().filter(|diagnosis| diagnosis.reason == Reason::HardwareWaiting);
    let going = waking || stage.is_transitional() || queue.is_some();
    let (mood, heading, text) = match queue {
        Some(queue) => (Mood::Going, "Waiting for hardware", queue.message.as_str()),
        None => words(*stage, waking),
    };
    // An app that ended is tried again by itself until then.
    let again = *stage == SpaceStage::RuntimeError && diagnosis.as_ref().is_some_and(|why| why.deadline.is_some());
    let retry = (going || again).then_some(if queue.is_some() || again { LATER_S } else { SOON_S });
    let mut facts = vec![("Stage", stage.to_string())];
    if let Some(diagnosis) = diagnosis.as_ref().filter(|why| (going || again) && !why.phase.is_empty()) {
        facts.push(("Phase", diagnosis.phase.clone()));
    }
    let time = elapsed(now.since(*since));
    facts.push(if going { ("For", time) } else { ("Since", format!("{time} ago")) });
    let reason = diagnosis.as_ref().map(|diagnosis| diagnosis.reason.code());
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "SpaceNotRunning",
        message: heading,
        space: Some((*stage, reason)),
        retry,
    }
    .answer(
        page,
        &Page {
            mood,
            label: &label(route),
            heading,
            text,
            facts: &facts,
            way: None,
            link: Some(&route.hub_page),
            // Its owner's next push mends it.
            refresh: retry.or(stage.is_error().then_some(MENDED_S)),
        },
    )
}

/// A file that a static Space does not have.
pub(crate) fn no_file(route: &Route, page: bool) -> Response<ProxyBody> {
    let message = "File not found";
    Failure { status: StatusCode::NOT_FOUND, code: "EntryNotFound", message, space: None, retry: None }.answer(
        page,
        &Page {
            mood: Mood::Calm,
            label: &label(route),
            heading: "There is no such page",
            text: "This Space has no file at this address.",
            facts: &[],
            way: None,
            link: Some(&route.hub_page),
            refresh: None,
        },
    )
}

/// A failure while a file was read: the disk's fault, not the visitor's.
pub(crate) fn file_failed(route: &Route, page: bool) -> Response<ProxyBody> {
    let message = "The file could not be read";
    Failure { status: StatusCode::INTERNAL_SERVER_ERROR, code: "InternalError", message, space: None, retry: None }
        .answer(page, &plain(Mood::Wrong, &label(route), message, "Please try again. The server's log has the cause."))
}

/// A method that static files do not have.
pub(crate) fn method_not_allowed() -> Response<ProxyBody> {
    let message = "Static files answer GET and HEAD only";
    let failure =
        Failure { status: StatusCode::METHOD_NOT_ALLOWED, code: "MethodNotAllowed", message, space: None, retry: None };
    let mut response = failure.answer(false, &plain(Mood::Wrong, PRODUCT, message, ""));
    response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

struct Failure<'a> {
    status: StatusCode,
    code: &'static str,
    /// For `X-Error-Message`, so printable ASCII.
    message: &'a str,
    space: Option<(SpaceStage, Option<String>)>,
    retry: Option<u32>,
}

impl Failure<'_> {
    fn answer(self, as_page: bool, page: &Page<'_>) -> Response<ProxyBody> {
        let Self { status, code, message, space, retry } = self;
        let (content, kind) = if as_page {
            (page.render(), "text/html; charset=utf-8")
        } else {
            let mut json = serde_json::json!({ "error": message });
            if let Some((stage, reason)) = space {
                json["stage"] = stage.as_str().into();
                if let Some(reason) = reason {
                    json["reason"] = reason.into();
                }
            }
            (json.to_string(), "application/json")
        };
        let mut response = Response::new(ProxyBody::full(content));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("accept, authorization, x-hf-authorization"));
        headers.insert(X_ERROR_CODE, HeaderValue::from_static(code));
        if let Ok(message) = HeaderValue::from_str(message) {
            headers.insert(X_ERROR_MESSAGE, message);
        }
        if as_page {
            headers.insert(CONTENT_SECURITY_POLICY, pages::CONTENT_SECURITY_POLICY.clone());
        }
        if let Some(seconds) = retry {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn plain<'a>(mood: Mood, label: &'a str, heading: &'a str, text: &'a str) -> Page<'a> {
    Page { mood, label, heading, text, facts: &[], way: None, link: None, refresh: None }
}

fn label(route: &Route) -> String {
    // Without a title of its own a Space has its name's second half for one: said once is enough.
    let untitled = route.title.is_empty() || route.title == route.name.name();
    if untitled { route.name.to_string() } else { format!("{} · {}", route.title, route.name) }
}

fn words(stage: SpaceStage, waking: bool) -> (Mood, &'static str, &'static str) {
    match stage {
        SpaceStage::Sleeping if waking => {
            (Mood::Going, "Waking up", "This Space was asleep. It opens by itself in a moment.")
        }
        SpaceStage::Building | SpaceStage::RunningBuilding => {
            (Mood::Going, "Building", "This Space is being built. It opens by itself as soon as it is ready.")
        }
        SpaceStage::AppStarting | SpaceStage::RunningAppStarting | SpaceStage::Running => {
            (Mood::Going, "Starting", "The app is starting. It opens by itself as soon as it answers.")
        }
        SpaceStage::Deleting => (Mood::Going, "Being removed", "This Space is being removed."),
        SpaceStage::Sleeping => {
            (Mood::Calm, "Asleep", "This Space is not used at the moment. Its owner can wake it up.")
        }
        SpaceStage::Paused => (Mood::Calm, "Paused", "The owner has paused this Space. Only the owner can restart it."),
        SpaceStage::Stopped => (Mood::Calm, "Stopped", "An administrator has stopped this Space."),
        SpaceStage::NoAppFile => {
            (Mood::Calm, "Nothing here yet", "This Space has no app yet. Its first page appears with the first push.")
        }
        SpaceStage::ConfigError => {
            (Mood::Wrong, "Configuration error", "The settings of this Space have a mistake, so it cannot start.")
        }
        SpaceStage::BuildError => {
            (Mood::Wrong, "Build error", "This Space could not be built. Its owner finds the cause in the build log.")
        }
        SpaceStage::RuntimeError => {
            (Mood::Wrong, "Runtime error", "The app has stopped working. Its owner finds the cause in its log.")
        }
    }
}

#[cfg(test)]
#[path = "answers/tests.rs"]
mod tests;
