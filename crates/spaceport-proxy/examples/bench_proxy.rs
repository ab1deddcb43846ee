//! The proxy alone, with one route, for measurements:
//! `bench_proxy LISTEN HOST UPSTREAM THREADS`. Ends when its standard input ends.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use http_body_util::Empty;
use spaceport_core::route::{Access, Route, RouteTable, Target};
use spaceport_core::{AccountId, SpaceId, Timestamp};
use spaceport_proxy::{Hub, Proxy, ProxyConfig};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, host, upstream, threads] = arguments.as_slice() else {
        return Err("usage: bench_proxy LISTEN HOST UPSTREAM THREADS".into());
    };
    let route = Route {
        space: SpaceId::new(Timestamp::from_millis(0), 1),
        owner: AccountId::new(Timestamp::from_millis(0), 1),
        name: "bench/app".parse()?,
        title: String::new(),
        hub_page: "http://localhost/spaces/bench/app".to_owned(),
        access: Access::Public,
        target: Target::Upstream { instance: "bench".to_owned(), address: upstream.parse()? },
        response_headers: Vec::new(),
    };
    let hosts = HashMap::from([(host.clone(), Arc::new(route))]);
    let (_table, routes) = watch::channel(Arc::new(RouteTable { version: 1, hosts, tokens: Arc::default() }));
    let (events, mut events_in) = mpsc::channel(16);
    let hub = Hub::new(tokio::runtime::Handle::current(), async |_| http::Response::new(Empty::<bytes::Bytes>::new()));
    let config = ProxyConfig { listen: listen.parse()?, threads: threads.parse()?, ..ProxyConfig::default() };
    let proxy = Proxy::bind(config, routes, hub, events)?;
    let stop = CancellationToken::new();
    let input_ends = async {
        let mut rest = Vec::new();
        // An error is an end, too.
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let events = async {
        while events_in.recv().await.is_some() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = proxy.run(stop.clone(), stop.clone()) => ended?,
        () = input_ends => {}
        () = events => {}
    }
    Ok(())
}
