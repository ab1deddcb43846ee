//! `spaceport reservation …`: devices that are kept for somebody at some time.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, encode};
use super::error::CliError;
use super::output::{Output, field, moment, plain_table};

#[derive(Debug, Subcommand)]
pub enum ReservationCommand {
    /// List reservations that are not over.
    List,
    /// Reserve devices, as a site admin.
    Create {
        /// For whom: `@site`, `~USER`, `ORGANIZATION` or `ORGANIZATION/USER`.
        place: String,
        /// How many whole devices.
        #[arg(long, default_value_t = 1)]
        devices: u32,
        /// A model that will do, as `spaceport gpu list` spells it; may be given several times. Any unless given.
        #[arg(long = "model")]
        models: Vec<String>,
        /// From: 2026-01-31T14:00+01:00 or 2026-01-31T13:00Z; now unless given.
        #[arg(long)]
        from: Option<String>,
        /// Until.
        #[arg(long)]
        until: String,
        /// What for.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// End a reservation, as a site admin: what it kept is free.
    End {
        /// Its id, as `list` shows it.
        id: String,
    },
}

pub(super) async fn run(command: ReservationCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        ReservationCommand::List => {
            let list = client.get("/api/gpu/reservations").await?;
            out.show(&list, table);
        }
        ReservationCommand::Create { place, devices, models, from, until, note } => {
            let body = json!({"place": place, "devices": devices, "models": models, "from": from, "until": until,
                "note": note});
            let made = client.post("/api/gpu/reservations", &body).await?;
            out.show(&made, |made| {
                let (from, until) = (moment(made, "/from"), moment(made, "/until"));
                format!("{devices} reserved for {place} from {from} until {until} UTC: {}", field(made, "/id"))
            });
        }
        ReservationCommand::End { id } => {
            let path = format!("/api/gpu/reservations/{}", encode(&id));
            let gone = client.send(Method::DELETE, &path, &json!({})).await?;
            out.show(&gone, |_| format!("The reservation {id} is over."));
        }
    }
    Ok(())
}

fn table(list: &Value) -> String {
    let row = |one: &Value| {
        let models: Vec<&str> = one["models"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        vec![
            field(one, "/id"),
            field(one, "/place"),
            field(one, "/devices"),
            moment(one, "/from"),
            moment(one, "/until"),
            field(one, "/state"),
            if models.is_empty() {
                field(one, "/note")
            } else {
                format!("{} {}", models.join(", "), field(one, "/note"))
            },
        ]
    };
    let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return "Nothing is reserved.".to_owned();
    }
    plain_table(&["ID", "FOR", "DEVICES", "FROM (UTC)", "UNTIL", "STATE", "NOTE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_stand_before_the_note() {
        let one = json!({"id": "01", "place": "lab", "devices": 2, "models": ["L4"], "note": "a course",
            "from": "2026-01-02T03:04:05.000Z", "until": "2026-01-03T03:04:05.000Z", "state": "planned"});
        let text = table(&json!([one]));
        assert!(text.lines().nth(1).unwrap().ends_with("planned  L4 a course"), "{text}");
        assert_eq!(table(&json!([])), "Nothing is reserved.");
    }
}
