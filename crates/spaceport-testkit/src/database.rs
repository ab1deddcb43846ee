//! A database of its own for every test: SQLite in a temporary file always, PostgreSQL when
//! `SPACEPORT_TEST_POSTGRES_URL` names a server.

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use spaceport_store::Store;

/// An empty, migrated database that goes away with this value.
pub struct TestDatabase {
    /// Open.
    pub store: Store,
    /// Where it is.
    pub url: String,
    _folder: Option<TempDir>,
    postgres: Option<(String, String)>,
}

/// One database per engine that is there.
///
/// # Panics
/// When an engine that should be there is not.
pub async fn databases() -> Vec<TestDatabase> {
    let mut all = vec![TestDatabase::sqlite().await];
    if let Some(server) = postgres_server() {
        all.push(TestDatabase::postgres(server).await);
    }
    all
}

fn postgres_server() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration; the variable names a test server")]
    let url = std::env::var("SPACEPORT_TEST_POSTGRES_URL");
    url.ok().filter(|url| !url.is_empty())
}

impl TestDatabase {
    /// SQLite in a temporary file: one in memory would belong to a single connection.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("spaceport.db").display());
        let store = Store::open(&url).await.expect("SQLite opens");
        Self { store, url, _folder: Some(folder), postgres: None }
    }

    async fn postgres(server: String) -> Self {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).expect("random numbers");
        let name = format!("spaceport_test_{:016x}", u64::from_le_bytes(random));
        let mut admin = PgConnection::connect(&server).await.expect("the PostgreSQL of SPACEPORT_TEST_POSTGRES_URL");
        admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("may create databases");
        let (base, _) = server.rsplit_once('/').expect("the URL names a database");
        let url = format!("{base}/{name}");
        let store = Store::open(&url).await.expect("PostgreSQL opens");
        Self { store, url, _folder: None, postgres: Some((server, name)) }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some((server, name)) = self.postgres.take() else { return };
        // Drop cannot wait in the test's own runtime.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&server).await.ok()?;
                admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.ok()
            })
        });
        let _ = dropped.join();
    }
}
