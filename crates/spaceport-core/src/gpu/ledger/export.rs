//! The ledger for spreadsheets. JSON rows are [`Entry`] itself.

use super::Entry;

/// The first line.
pub const CSV_HEADER: &str = "id,lease,account,space,flavor,node,device,model,milli,weight_milli,from,until,\
milli_device_ms,device_hours,reason,refund_of";

/// One line, without its end.
#[must_use]
pub fn csv_row(entry: &Entry) -> String {
    let time = entry.time();
    let fields = [
        entry.id.to_string(),
        entry.lease.to_string(),
        entry.account.0.clone(),
        entry.space_name.clone(),
        entry.flavor.0.clone(),
        entry.node.0.clone(),
        entry.device.0.clone(),
        entry.model.clone(),
        entry.milli.to_string(),
        entry.weight_milli.to_string(),
        entry.from.to_rfc3339(),
        entry.until.to_rfc3339(),
        time.0.to_string(),
        time.hours(),
        entry.why.map_or_else(|| "running".to_owned(), |why| why.to_string()),
        entry.refund_of.map(|of| of.to_string()).unwrap_or_default(),
    ];
    fields.map(|field| quoted(&field)).join(",")
}

/// RFC 4180; a field that a spreadsheet would run as a formula gets an apostrophe in front.
fn quoted(field: &str) -> String {
    let is_number = field.parse::<f64>().is_ok();
    let field = match field.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') if !is_number => format!("'{field}"),
        _ => field.to_owned(),
    };
    if field.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}
