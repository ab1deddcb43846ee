//! The data directory: made on first start, locked while in use.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use spaceport_api::ClaimKey;
use spaceport_control::Clock;
use spaceport_core::account::{Account, AccountKind, Scopes, TokenRole};
use spaceport_core::ticket::TicketKey;
use spaceport_store::vault::Vault;
use spaceport_store::{NewToken, Store, StoreError};

use crate::config::Config;

/// The account of the first start.
const ADMIN: &str = "admin";
/// Name of its token.
const ADMIN_TOKEN: &str = "admin-token";

/// The data directory of this process.
#[derive(Debug)]
pub struct DataDir {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Held as long as the process lives: two servers on one directory would fight.
    _lock: File,
}

impl DataDir {
    /// Opens it, makes it when missing, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        for folder in ["", "repos", "logs", "keys", "static", "tmp"] {
            let folder = path.join(folder);
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("could not make the folder {}", folder.display()))?;
        }
        let path = path.canonicalize().with_context(|| format!("could not find {}", path.display()))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .context("could not open the lock of the data directory")?;
        if lock.try_lock().is_err() {
            bail!("another spaceport uses the data directory {}; stop it first", path.display());
        }
        Ok(Self { path, _lock: lock })
    }

    /// The key secrets are sealed with, made on first start.
    pub fn vault(&self) -> anyhow::Result<Vault> {
        Ok(Vault::new(&self.key("secrets.key", "restore it from a backup")?))
    }

    /// The key tickets for private Spaces are signed with, made on first start. Another one ends
    /// the sessions of browsers, and nothing else.
    pub fn tickets(&self) -> anyhow::Result<TicketKey> {
        Ok(TicketKey::new(self.key("tickets.key", "remove it, and another one is made")?))
    }

    /// The key addresses and tokens of large files are signed with, made on first start.
    pub fn claim_key(&self) -> anyhow::Result<ClaimKey> {
        Ok(ClaimKey::new(self.key("claims.key", "remove it, and another one is made")?))
    }

    /// A key of 32 bytes.
    fn key(&self, name: &str, remedy: &str) -> anyhow::Result<[u8; 32]> {
        let file = self.path.join("keys").join(name);
        let key = read_or_make(&file, || {
            let mut key = vec![0u8; 32];
            getrandom::fill(&mut key)?;
            Ok(key)
        })?;
        key.try_into().map_err(|_| anyhow::anyhow!("{} does not hold 32 bytes; {remedy}", file.display()))
    }

    /// The name by which this installation knows its containers.
    pub fn installation(&self) -> anyhow::Result<String> {
        let bytes = read_or_make(&self.path.join("keys").join("installation"), || {
            let mut id = [0u8; 6];
            getrandom::fill(&mut id)?;
            Ok(id.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes())
        })?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Keeps the first sign-in's link where only the administrator of the machine finds it; returns where.
    pub fn keep_sign_in_link(&self, link: &str) -> anyhow::Result<PathBuf> {
        let file = self.path.join("sign-in-link");
        write_secret(&file, format!("{link}\n").as_bytes())?;
        Ok(file)
    }

    /// Makes sure that there is an admin with a valid token.
    pub async fn admin(&self, store: &Store, clock: &Clock, config: &Config) -> anyhow::Result<Admin> {
        let known = store.account_by_name(ADMIN).await?;
        let is_new = known.is_none();
        if is_new {
            let account = Account {
                id: clock.account_id(),
                name: ADMIN.to_owned(),
                kind: AccountKind::User,
                full_name: "Administrator".to_owned(),
                email: None,
                is_admin: true,
                created_at: clock.now(),
            };
            match store.account_create(&account).await {
                // An admin who was disabled on purpose stays disabled.
                Err(StoreError::Exists(_)) => {
                    return Ok(Admin {
                        account: None,
                        is_new: false,
                        token_place: "the account admin is disabled".to_owned(),
                    });
                }
                other => other?,
            }
        }
        let Some(admin) = store.account_by_name(ADMIN).await? else { bail!("the account {ADMIN} is gone") };
        let (token, token_place) = self.admin_token(store, config).await?;
        if store.token_account(&token, clock.now()).await?.is_none() {
            store.token_delete(admin.id, ADMIN_TOKEN).await?;
            let new = NewToken {
                id: clock.token_id(),
                account: admin.id,
                name: ADMIN_TOKEN,
                role: TokenRole::Write,
                scopes: Scopes::default(),
                token: &token,
                at: clock.now(),
                expires_at: None,
            };
            store.token_create(&new).await.context("could not store the admin's token")?;
        }
        Ok(Admin { account: Some(admin), is_new, token_place })
    }

    /// The admin's token, and where it is. One that was revoked because it leaked does not come back.
    async fn admin_token(&self, store: &Store, config: &Config) -> anyhow::Result<(String, String)> {
        if let Some(token) = &config.admin_token {
            if store.token_is_revoked(token.expose()).await? {
                bail!("the token in SPACEPORT_ADMIN_TOKEN (admin_token) was revoked; set another one");
            }
            return Ok((token.expose().to_owned(), "SPACEPORT_ADMIN_TOKEN".to_owned()));
        }
        let file = self.path.join("admin-token");
        let read = || {
            let bytes = read_or_make(&file, || Ok(spaceport_api::random_token()?.into_bytes()))?;
            Ok::<_, anyhow::Error>(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        let mut token = read()?;
        if store.token_is_revoked(&token).await? {
            tracing::warn!("the token in {} was revoked; another one takes its place", file.display());
            std::fs::remove_file(&file).with_context(|| format!("could not remove {}", file.display()))?;
            token = read()?;
        }
        Ok((token, file.display().to_string()))
    }
}

/// The site's first account.
#[derive(Debug)]
pub struct Admin {
    /// `None` when it was disabled.
    pub account: Option<Account>,
    /// Whether it was made just now: the first start.
    pub is_new: bool,
    /// Where its token is.
    pub token_place: String,
}

/// A small file for the owner's eyes only; made whole or not at all.
fn read_or_make(file: &Path, make: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    match File::open(file) {
        Ok(mut open) => {
            let mut content = Vec::new();
            open.read_to_end(&mut content)?;
            if !content.is_empty() {
                return Ok(content);
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("could not read {}", file.display())),
    }
    let content = make()?;
    write_secret(file, &content)?;
    Ok(content)
}

fn write_secret(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = file.with_extension("new");
    let mut to = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    to.write_all(content)?;
    to.sync_all()?;
    std::fs::rename(&temporary, file).with_context(|| format!("could not write {}", file.display()))
}
