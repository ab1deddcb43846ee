//! Pages of lists whose newest entry comes first, by a cursor in `Link`.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use spaceport_core::{AccountId, Timestamp};
use spaceport_store::After;

use crate::error::ApiError;
use crate::extract::Params;

/// Entries of a page unless `limit` says otherwise.
const DEFAULT_LIMIT: u64 = 100;
/// Most entries of a page.
const MAX_LIMIT: u64 = 1000;

/// Which page is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// It begins after this.
    pub(crate) after: Option<After>,
    /// It has at most so many entries.
    pub(crate) limit: usize,
}

impl Page {
    /// Reads `limit` and `cursor`.
    ///
    /// # Errors
    /// When one of them makes no sense.
    pub(crate) fn of(params: &Params) -> Result<Self, ApiError> {
        let limit = params.number("limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Self { after: params.get("cursor").map(read_cursor).transpose()?, limit })
    }

    /// One more than the page has, to know whether there is another.
    pub(crate) fn rows(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// The answer, with `Link` to what comes after `next`. `url` is this list's own.
    ///
    /// # Errors
    /// When the address cannot stand in a header.
    pub(crate) fn answer<T: Serialize>(
        entries: Vec<T>,
        next: Option<After>,
        url: &str,
        params: &Params,
    ) -> Result<Response, ApiError> {
        let mut response = Json(entries).into_response();
        if let Some(next) = next {
            let query = params.with("cursor", &write_cursor(&next));
            let link = format!("<{url}?{query}>; rel=\"next\"");
            response.headers_mut().insert(LINK, HeaderValue::from_str(&link).map_err(ApiError::internal)?);
        }
        Ok(response)
    }

    /// Cuts rows to a page. Gives where the next one begins, if there is one.
    pub(crate) fn cut<T>(&self, rows: &mut Vec<T>, place: impl Fn(&T) -> After) -> Option<After> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        rows.last().filter(|_| more).map(place)
    }
}

fn write_cursor(After { at, id }: &After) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{id}", at.as_millis()))
}

fn read_cursor(text: &str) -> Result<After, ApiError> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (at, id) = text.split_once(':')?;
        // Every id here has the same form.
        let id = id.parse::<AccountId>().ok()?.to_string();
        Some(After { at: Timestamp::from_millis(at.parse().ok()?), id })
    };
    read().ok_or_else(|| ApiError::bad_request("'cursor' is not one of ours; take it from the header 'Link'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        let at = Timestamp::from_millis(1234);
        let after = After { at, id: AccountId::new(at, 9).to_string() };
        assert_eq!(read_cursor(&write_cursor(&after)).unwrap(), after);
        for wrong in ["", "%%%", "AAAA", &URL_SAFE_NO_PAD.encode("1:'; DROP TABLE likes")] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
