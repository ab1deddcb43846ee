//! `agents.md`: how a program uses a Space, in a page a language model can read.
//! Hub: `GET /spaces/{id}/agents.md`.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use spaceport_core::card;
use spaceport_core::space::Visibility;

use crate::access::ReadSpace;
use crate::error::{ApiError, ErrorBody};
use crate::repos::info::info;
use crate::state::ApiState;
use crate::views::SpacePath;
use crate::views::space::SpaceView;

/// How a program uses a Space
#[utoipa::path(get, path = "/spaces/{owner}/{name}/agents.md", tag = "spaces", params(SpacePath),
    responses((status = 200, content_type = "text/markdown", body = String), (status = 404, body = ErrorBody)))]
pub async fn get_agents(State(state): State<ApiState>, read: ReadSpace) -> Result<Response, ApiError> {
    let view = info(&state, &read).await?;
    let private = read.space.visibility == Visibility::Private;
    let mut response = page(&view, &state.site.hub_url, private).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
    Ok(response)
}

fn page(view: &SpaceView, hub: &str, private: bool) -> String {
    let (id, host) = (&view.repo.id, &view.host);
    let one = |key: &str| card::texts(view.repo.card_data.as_ref(), key).into_iter().next();
    let mut text = format!("# {}\n\n", line(&one("title").unwrap_or_else(|| id.clone())));
    if let Some(about) = one("short_description") {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\n", line(&about));
    }
    let stage = view.runtime.stage.0.as_str();
    let opens = format!("{host}{}", card::base_path(view.repo.card_data.as_ref()));
    let _ = writeln!(text, "- Space: {hub}/spaces/{id}\n- App: {opens}\n- SDK: {}\n- Stage: {stage}", view.sdk);
    let _ = writeln!(text, "- State: GET {hub}/api/spaces/{id}/runtime\n");
    text.push_str(&how(&view.sdk, host));
    let auth = if private {
        "Auth (needed: this Space is private)"
    } else {
        "Auth (for higher limits, or when it is private)"
    };
    let _ = writeln!(text, "\n{auth}: send `Authorization: Bearer $HF_TOKEN`, with a token of {hub}");
    text
}

/// How to call an app of an SDK.
fn how(sdk: &str, host: &str) -> String {
    match sdk {
        "gradio" => format!(
            "## API\n\n\
             - API schema: GET {host}/gradio_api/info\n\
             - Call an endpoint: POST {host}/gradio_api/call/{{endpoint}} with `{{\"data\": [...]}}`, the inputs in the order \
             of the schema; the answer has `event_id`\n\
             - Poll the result: GET {host}/gradio_api/call/{{endpoint}}/{{event_id}} (server-sent events; `complete` carries \
             the outputs, `error` the reason)\n\
             - File inputs: POST {host}/gradio_api/upload with `-F \"files=@file\"`; pass \
             `{{\"path\": \"<returned path>\", \"meta\": {{\"_type\": \"gradio.FileData\"}}}}`\n\
             - In Python: `from gradio_client import Client; Client(\"{host}\").predict(..., api_name=\"/{{endpoint}}\")`\n"
        ),
        "static" => format!("## Files\n\nThe app is a set of files: GET {host}/\n"),
        "streamlit" => format!("## Page\n\nThe app is for browsers and has no API of its own: {host}/\n"),
        _ => format!(
            "## API\n\nThe app decides what it answers. Look for a schema at {host}/openapi.json, and read the README of the Space.\n"
        ),
    }
}

/// Text of an author in one line.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
