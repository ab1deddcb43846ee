//! `GET /api/spaces/templates`: what a new Space can begin with.
//!
//! They are the samples of this project, part of the binary: a hub without the internet has them too. The Hub's are
//! Spaces of accounts there; ours are below `templates`, a name that no account can have.

use axum::Json;
use rust_embed::RustEmbed;
use serde::Serialize;
use utoipa::ToSchema;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use spaceport_core::{Sdk, front_matter};

use crate::error::{ApiError, clip};
use crate::repos::beginning::NewFile;
use crate::repos::create::sdk;

/// Where templates are, as a namespace.
const NAMESPACE: &str = "templates";

#[derive(RustEmbed)]
#[folder = "../../examples"]
struct Samples;

/// The templates of this site.
#[derive(Debug, Serialize, ToSchema)]
pub struct Templates {
    /// All of them.
    pub templates: Vec<TemplateView>,
}

/// A template.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateView {
    /// A short name.
    pub name: String,
    /// What `template` of a new Space says.
    pub repo_id: String,
    /// The SDK a Space made from it has.
    pub sdk: String,
    /// Whether it should be private: never, for none of them shows anything of its owner.
    pub preferred_private: bool,
    /// Title of its app.
    pub title: Option<String>,
    /// What its app does.
    pub short_description: Option<String>,
}

/// What a new Space can begin with
#[utoipa::path(get, path = "/api/spaces/templates", tag = "spaces", responses((status = 200, body = Templates)))]
pub async fn list_templates() -> Json<Templates> {
    let view = |template: Template| TemplateView {
        repo_id: format!("{NAMESPACE}/{}", template.name),
        name: template.name,
        sdk: template.sdk.as_str().to_owned(),
        preferred_private: false,
        title: template.title,
        short_description: template.short_description,
    };
    Json(Templates { templates: all().into_iter().map(view).collect() })
}

/// A template.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    sdk: Sdk,
    title: Option<String>,
    short_description: Option<String>,
}

/// Finds a template by its id or its short name.
///
/// # Errors
/// When there is none; the message names those that there are.
pub(crate) fn find(text: &str) -> Result<Template, ApiError> {
    let name = text.strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    let mut all = all();
    if let Some(place) = all.iter().position(|template| template.name.eq_ignore_ascii_case(name)) {
        return Ok(all.swap_remove(place));
    }
    let known: Vec<_> = all.iter().map(|template| format!("{NAMESPACE}/{}", template.name)).collect();
    let message = format!("There is no template {:?}; there are {}", clip(text), known.join(", "));
    Err(ApiError::bad_request(message))
}

impl Template {
    /// Its SDK, unless another one was asked for.
    ///
    /// # Errors
    /// When another one was asked for.
    pub(crate) fn sdk(&self, asked: Option<&str>) -> Result<Sdk, ApiError> {
        match asked.map(|text| sdk(Some(text))).transpose()? {
            Some(asked) if asked != self.sdk => Err(ApiError::bad_request(format!(
                "The template {NAMESPACE}/{} is made with {}, not {asked}",
                self.name, self.sdk
            ))),
            _ => Ok(self.sdk),
        }
    }

    /// Adds its files to those that were given, which win.
    pub(crate) fn add_to(&self, given: &mut Vec<NewFile>) {
        let folder = format!("{}/", self.name);
        for path in Samples::iter().filter(|path| is_source(path)) {
            let Some(below) = path.strip_prefix(&folder) else { continue };
            if given.iter().any(|file| file.path == below) {
                continue;
            }
            let Some(file) = Samples::get(&path) else { continue };
            let content = STANDARD.encode(&file.data);
            given.push(NewFile { path: below.to_owned(), content, encoding: Some("base64".to_owned()) });
        }
    }
}

/// All of them, by name.
fn all() -> Vec<Template> {
    let of = |path: &str| {
        let name = path.strip_suffix("/README.md").filter(|name| !name.contains('/'))?;
        let config = front_matter::parse(&Samples::get(path)?.data).ok()?;
        let (title, short_description) = (config.title, config.short_description);
        Some(Template { name: name.to_owned(), sdk: config.sdk, title, short_description })
    };
    let mut all: Vec<Template> = Samples::iter().filter_map(|path| of(&path)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Not what running a sample in its folder leaves there.
fn is_source(path: &str) -> bool {
    !path.split('/').any(|part| matches!(part, "__pycache__" | "dist" | ".venv" | ".gradio"))
}
