//! Pictures of accounts: nobody uploads any, so each name has one that is drawn from it.

use axum::extract::Path;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use spaceport_core::name::check_part;

use crate::error::ApiError;
use crate::state::Site;

/// Where the picture of an account is.
pub(crate) fn avatar_url(site: &Site, name: &str) -> String {
    format!("{}/api/avatars/{name}", site.hub_url)
}

/// The picture of an account
///
/// Drawn from the name alone, whether or not somebody has it.
#[utoipa::path(get, path = "/api/avatars/{name}", tag = "account",
    params(("name" = String, Path, description = "The account's name")),
    responses((status = 200, content_type = "image/svg+xml", body = String)))]
pub async fn get_avatar(Path(name): Path<String>) -> Result<([(HeaderName, &'static str); 4], String), ApiError> {
    check_part(&name).map_err(|error| ApiError::not_found(error.to_string()))?;
    let headers = [
        (CONTENT_TYPE, "image/svg+xml"),
        (CACHE_CONTROL, "public, max-age=86400"),
        // A picture, even for whoever opens it as a page.
        (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, draw(&name)))
}

fn draw(name: &str) -> String {
    let letter = name.chars().find(char::is_ascii_alphanumeric).unwrap_or('?').to_ascii_uppercase();
    let hue = name.to_ascii_lowercase().bytes().fold(7u32, |sum, byte| (sum * 31 + u32::from(byte)) % 360);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\" width=\"64\" height=\"64\">\
         <rect width=\"64\" height=\"64\" fill=\"hsl({hue},55%,42%)\"/>\
         <text x=\"32\" y=\"43\" text-anchor=\"middle\" font-family=\"system-ui,sans-serif\" font-size=\"32\" \
         font-weight=\"600\" fill=\"#fff\">{letter}</text></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn a_name_has_one_picture_whatever_its_case() {
        assert_eq!(draw("Alice"), draw("alice"));
        assert_ne!(draw("alice"), draw("alicf"));
        assert!(draw("_ci").contains(">C<"));
    }
}
