//! `spaceport admin …`: users and their tokens.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::client::{Client, encode};
use super::error::CliError;
use super::output::{Output, field, moment, plain_table};

#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Users.
    #[command(subcommand)]
    User(UserCommand),
    /// Tokens of a user.
    #[command(subcommand)]
    Token(TokenCommand),
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
    }
}

async fn user(command: UserCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    match command {
        UserCommand::List => {
            let list = client.get("/api/admin/users").await?;
            out.show(&list, |list| {
                let row = |user: &serde_json::Value| {
                    let role = if user["isAdmin"] == true { "admin" } else { "user" };
                    vec![field(user, "/name"), role.to_owned(), moment(user, "/createdAt"), field(user, "/fullName")]
                };
                let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
                plain_table(&["USER", "ROLE", "CREATED", "NAME"], &rows)
            });
        }
        UserCommand::Create { name, full_name, email, admin } => {
            let body = json!({"name": name, "fullName": full_name, "email": email, "isAdmin": admin});
            let made = client.post("/api/admin/users", &body).await?;
            out.show(&made, |made| format!("Created {}.", field(made, "/name")));
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
        UserCommand::Delete { name } => {
            let gone = client.send(Method::DELETE, &format!("/api/admin/users/{}", encode(&name)), &json!({})).await?;
            out.show(&gone, |_| format!("Deleted {name}; its Spaces are stopped."));
        }
    }
    Ok(())
}

async fn token(command: TokenCommand, client: &Client, out: &Output) -> Result<(), CliError> {
    let path = |user: &str| format!("/api/admin/users/{}/tokens", encode(user));
    match command {
        TokenCommand::List { user } => {
            let list = client.get(&path(&user)).await?;
            out.show(&list, |list| {
                let row = |token: &serde_json::Value| {
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
