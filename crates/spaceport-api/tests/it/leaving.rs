//! Clients that leave before they are answered.

use spaceport_testkit::{TestApp, wait_for};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_change_is_made_in_full_although_its_client_left() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    app.space(&alice, "demo", "public").await;
    for (method, path, action) in [
        ("POST", "/api/spaces/alice/demo/pause", "space.pause"),
        ("DELETE", "/api/settings/tokens/reader", "token.delete"),
    ] {
        // No change gets through for now.
        let held = app.hold_writes().await;
        let mut client = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
        let token = &alice.write;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        drop(client);
        // By the time others have been answered, the server knows that it is gone.
        for _ in 0..10 {
            assert_eq!(app.get("/api/health", None).await.status, 200);
        }
        drop(held);
        wait_for(action, || async {
            let audit = app.store.audit_latest(app.control.clock().now(), 10).await.unwrap();
            audit.iter().any(|entry| entry.action == action).then_some(())
        })
        .await;
    }
}
