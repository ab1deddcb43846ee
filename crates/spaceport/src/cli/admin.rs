//! `spaceport admin …`: users, their tokens, and what happened on the site.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::ask::confirm;
use super::client::{Client, encode};
use super::error::CliError;
use super::output::{Output, field, moment, plain_table};
use super::settings::read_value;

#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Users.
    #[command(subcommand)]
    User(UserCommand),
    /// Tokens of a user.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Who changed what, newest first.
    Audit {
        /// At most so many; 1000 at most.
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: u64,
    },
    /// How the server's background work is doing.
    Tasks,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// List all users.
    List,
    /// Create a user.
    Create {
        /// The account's name.
        name: String,
        /// Name for people.
        #[arg(long)]
        full_name: Option<String>,
        /// Address.
        #[arg(long)]
        email: Option<String>,
        /// Makes the user a site admin.
        #[arg(long)]
        admin: bool,
    },
    /// Make a link with which a user signs in once, within a day, and print it.
    SigninLink {
        /// The account's name.
        name: String,
    },
    /// Set a user's password, read from standard input; ends all sessions of the user, tokens stay.
    Password {
        /// The account's name.
        name: String,
    },
    /// Disable a user: sessions end, tokens are refused, Spaces run on.
    Disable {
        /// The account's name.
        name: String,
    },
    /// Enable a disabled user again.
    Enable {
        /// The account's name.
        name: String,
    },
    /// Disable a user, delete its tokens and stop its Spaces.
    Delete {
        /// The account's name.
        name: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List the tokens of a user.
    List {
        /// The account's name.
        user: String,
    },
    /// Make a token and print it; it is shown only once.
    Create {
        /// The account's name.
        user: String,
        /// The token's name.
        #[arg(default_value = "default")]
        name: String,
        /// What it may do: read or write.
        #[arg(long, default_value = "write", value_parser = ["read", "write"])]
        role: String,
    },
    /// Delete a token.
    Delete {
        /// The account's name.
        user: String,
        /// The token's name.
        name: String,
    },
}

pub(super) async fn run(command: AdminCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        AdminCommand::User(command) => user(command, client, out).await,
        AdminCommand::Token(command) => token(command, client, out).await,
        AdminCommand::Audit { limit } => {
            let list = client.get(&format!("/api/admin/audit?limit={limit}")).await?;
            out.show(&list, audit);
            Ok(())
        }
        AdminCommand::Tasks => {
            let all = client.get("/api/admin/tasks").await?;
            out.show(&all, tasks);
            Ok(())
        }
    }
}

async fn user(command: UserCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        UserCommand::List => {
            let list = client.get("/api/admin/users").await?;
            out.show(&list, users);
        }
        UserCommand::Create { name, full_name, email, admin } => {
            let body = json!({"name": name, "fullName": full_name, "email": email, "isAdmin": admin});
            let made = client.post("/api/admin/users", &body).await?;
            out.show(&made, |made| {
                let name = field(made, "/name");
                format!("Created {name}. A link that signs in once, within a day:\n\n  spaceport admin user signin-link {name}")
            });
        }
        UserCommand::SigninLink { name } => {
            let made = client.post(&format!("/api/admin/users/{}/sign-in-link", encode(&name)), &json!({})).await?;
            // The link alone, so that a script can take it as it is.
            out.show(&made, |made| field(made, "/url"));
        }
        UserCommand::Disable { name } => {
            let user = client.post(&format!("/api/admin/users/{}/disable", encode(&name)), &json!({})).await?;
            out.show(&user, |_| format!("Disabled {name}; its Spaces run on."));
        }
        UserCommand::Enable { name } => {
            let user = client.post(&format!("/api/admin/users/{}/enable", encode(&name)), &json!({})).await?;
            out.show(&user, |_| format!("Enabled {name}."));
        }
        UserCommand::Password { name } => {
            let password = read_value(&format!("The new password of {name}"))?;
            let path = format!("/api/admin/users/{}/password", encode(&name));
            let set = client.send(Method::PUT, &path, &json!({"password": password})).await?;
            out.show(&set, |_| format!("Set the password of {name}; whoever was signed in as {name} is not any more."));
        }
        UserCommand::Delete { name, yes } => {
            if !yes {
                confirm(&name, "with its tokens, and stop its Spaces")?;
            }
            let gone = client.send(Method::DELETE, &format!("/api/admin/users/{}", encode(&name)), &json!({})).await?;
            out.show(&gone, |_| format!("Deleted {name}; its Spaces are stopped."));
        }
    }
    Ok(())
}

fn users(list: &Value) -> String {
    let row = |user: &Value| {
        let role = if user["isAdmin"] == true { "admin" } else { "user" };
        let state = if user["disabled"] == true { "disabled" } else { "" };
        let (name, full_name) = (field(user, "/name"), field(user, "/fullName"));
        vec![name, role.to_owned(), state.to_owned(), moment(user, "/createdAt"), full_name]
    };
    let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
    plain_table(&["USER", "ROLE", "STATE", "CREATED", "NAME"], &rows)
}

fn audit(list: &Value) -> String {
    let row = |entry: &Value| {
        let detail = match &entry["detail"] {
            Value::Object(detail) if detail.is_empty() => String::new(),
            _ => field(entry, "/detail"),
        };
        vec![moment(entry, "/at"), field(entry, "/actor"), field(entry, "/action"), field(entry, "/subject"), detail]
    };
    let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
    plain_table(&["AT", "WHO", "WHAT", "OF", "DETAIL"], &rows)
}

fn tasks(all: &Value) -> String {
    let row = |(name, task): (&String, &Value)| {
        let state = if task["ok"] == true { "ok" } else { "FAILED" };
        let took = format!("{} ms", field(task, "/durationMs"));
        vec![name.clone(), state.to_owned(), moment(task, "/at"), took, field(task, "/message")]
    };
    let rows: Vec<Vec<String>> = all.as_object().into_iter().flatten().map(row).collect();
    plain_table(&["TASK", "STATE", "AT", "TOOK", "MESSAGE"], &rows)
}

async fn token(command: TokenCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    let path = |user: &str| format!("/api/admin/users/{}/tokens", encode(user));
    match command {
        TokenCommand::List { user } => {
            let list = client.get(&path(&user)).await?;
            out.show(&list, |list| {
                let row = |token: &Value| {
                    let hint = format!("…{}", field(token, "/hint"));
                    vec![field(token, "/name"), field(token, "/role"), hint, moment(token, "/createdAt")]
                };
                let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
                plain_table(&["TOKEN", "ROLE", "ENDS IN", "CREATED"], &rows)
            });
        }
        TokenCommand::Create { user, name, role } => {
            let made = client.post(&path(&user), &json!({"name": name, "role": role})).await?;
            // The token alone, so that a script can take it as it is.
            out.show(&made, |made| field(made, "/token"));
        }
        TokenCommand::Delete { user, name } => {
            let path = format!("{}/{}", path(&user), encode(&name));
            let gone = client.send(Method::DELETE, &path, &json!({})).await?;
            out.show(&gone, |_| format!("Deleted the token {name:?} of {user}."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_user_is_shown_as_such() {
        let at = "2026-01-02T03:04:05.678Z";
        let list = json!([
            {"name": "ada", "isAdmin": true, "disabled": false, "createdAt": at, "fullName": "Ada"},
            {"name": "bob", "isAdmin": false, "disabled": true, "createdAt": at, "fullName": "Bob"},
        ]);
        let told = users(&list);
        let words: Vec<Vec<&str>> = told.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["ada", "admin", "2026-01-02", "03:04:05", "Ada"]);
        assert_eq!(words[1], ["bob", "user", "disabled", "2026-01-02", "03:04:05", "Bob"]);
    }

    #[test]
    fn what_happened_and_what_goes_on_is_a_line_each() {
        let at = "2026-01-02T03:04:05.678Z";
        let list = json!([
            {"at": at, "actor": "ada", "action": "space.create", "subject": "ada/x", "detail": {"sdk": "docker"}},
            {"at": at, "actor": "ada", "action": "user.disable", "subject": "bob", "detail": {}},
        ]);
        let told = audit(&list);
        assert!(told.contains("ada  space.create  ada/x  {\"sdk\":\"docker\"}"), "{told}");
        assert!(told.ends_with("ada  user.disable  bob"), "{told}");
        let all = json!({"builds": {"ok": false, "at": at, "durationMs": 12, "message": "The engine is away."}});
        assert!(
            tasks(&all).ends_with("builds  FAILED  2026-01-02 03:04:05  12 ms  The engine is away."),
            "{}",
            tasks(&all)
        );
    }
}
