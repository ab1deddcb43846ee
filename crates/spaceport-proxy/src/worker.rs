//! One thread of the proxy: its view of the routes, its instances, its clients.
//!
//! Nothing here is shared with another thread, so nothing is locked: the table comes in through a
//! watch channel, and what happened goes out through channels.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderMap, HeaderName, HeaderValue};
use spaceport_core::SpaceId;
use spaceport_core::route::{ProxyEvent, Route, RouteTable, Target};
use tokio::sync::{Notify, mpsc, watch};

use crate::config::ProxyConfig;
use crate::connection::{Client, Slots, Ticks};
use crate::drain::{Departure, Note};
use crate::files::Compressed;
use crate::headers::RequestIds;
use crate::hub::Hub;
use crate::upstream::Instance;

/// A route as this thread keeps it, with what it would otherwise work out for every request.
pub(crate) struct Site {
    pub(crate) route: Arc<Route>,
    /// `Some` exactly for `Target::Upstream`.
    pub(crate) instance: Option<Rc<Instance>>,
    /// The valid ones of the route's response headers.
    response_headers: Vec<(HeaderName, HeaderValue)>,
    last_used: Cell<u32>,
}

impl Site {
    /// Sets what the front matter asks for, whatever the app said; but of several content security policies all hold,
    /// so the app keeps its own (CSP 3, section 8.1).
    pub(crate) fn set_response_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.response_headers {
            if *name == CONTENT_SECURITY_POLICY {
                headers.append(name.clone(), value.clone());
            } else {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

pub(crate) struct Worker {
    pub(crate) config: Arc<ProxyConfig>,
    pub(crate) hub: Hub,
    pub(crate) ids: RequestIds,
    pub(crate) ticks: Arc<Ticks>,
    pub(crate) clients: Slots<Client>,
    pub(crate) compressed: Compressed,
    /// Told whenever the table changed.
    pub(crate) changed: Notify,
    pub(crate) held: RefCell<HashMap<SpaceId, usize>>,
    /// Pages that were opened since this was told last.
    visits: RefCell<HashMap<SpaceId, u32>>,
    /// Upgraded connections, which hyper no longer counts.
    pub(crate) tunnels: Cell<usize>,
    routes: RefCell<watch::Receiver<Arc<RouteTable>>>,
    table: RefCell<Arc<RouteTable>>,
    sites: RefCell<HashMap<String, Rc<Site>>>,
    instances: RefCell<HashMap<String, Rc<Instance>>>,
    events: mpsc::Sender<ProxyEvent>,
    notes: mpsc::UnboundedSender<Note>,
}

impl Worker {
    pub(crate) fn new(
        config: Arc<ProxyConfig>,
        mut routes: watch::Receiver<Arc<RouteTable>>,
        hub: Hub,
        events: mpsc::Sender<ProxyEvent>,
        notes: mpsc::UnboundedSender<Note>,
        seed: u64,
    ) -> Rc<Self> {
        let table = routes.borrow_and_update().clone();
        Rc::new(Self {
            config,
            hub,
            ids: RequestIds::new(seed),
            ticks: Arc::default(),
            clients: Slots::default(),
            compressed: Compressed::default(),
            changed: Notify::new(),
            held: RefCell::default(),
            visits: RefCell::default(),
            tunnels: Cell::new(0),
            routes: RefCell::new(routes),
            table: RefCell::new(table),
            sites: RefCell::default(),
            instances: RefCell::default(),
            events,
            notes,
        })
    }

    /// The newest table.
    pub(crate) fn table(&self) -> Arc<RouteTable> {
        self.refresh();
        self.table.borrow().clone()
    }

    /// What serves a host, by the newest table.
    pub(crate) fn site(&self, host: &str) -> Option<Rc<Site>> {
        self.refresh();
        if let Some(site) = self.sites.borrow().get(host) {
            return Some(site.clone());
        }
        let route = self.table.borrow().hosts.get(host)?.clone();
        let instance = match &route.target {
            Target::Upstream { instance, address } => Some(self.instance(instance, *address, route.space)),
            Target::Files { .. } | Target::Hold(_) | Target::Page(_) => None,
        };
        let response_headers = response_headers(&route);
        let site = Rc::new(Site { route, instance, response_headers, last_used: Cell::new(0) });
        self.sites.borrow_mut().insert(host.to_owned(), site.clone());
        Some(site)
    }

    /// Notes that a Space was used, and says so at most about once a second.
    pub(crate) fn used(&self, site: &Site) {
        let now = self.ticks.now();
        if site.last_used.replace(now) != now {
            let event = ProxyEvent::Activity { space: site.route.space, at: (self.config.clock)() };
            // A full channel means that control is behind; the next second tells it the same.
            let _ = self.events.try_send(event);
        }
    }

    /// Counts that a browser opened a page of a Space.
    pub(crate) fn visited(&self, space: SpaceId) {
        *self.visits.borrow_mut().entry(space).or_default() += 1;
    }

    /// Tells of the pages opened since it last did. Those that a full channel does not take are told with the next ones.
    pub(crate) fn tell_visits(&self) {
        self.visits
            .borrow_mut()
            .retain(|space, pages| self.events.try_send(ProxyEvent::Visited { space: *space, pages: *pages }).is_err());
    }

    /// Takes the newest table, if there is one. One atomic load when there is none.
    pub(crate) fn refresh(&self) {
        let next = {
            let mut routes = self.routes.borrow_mut();
            // A closed channel keeps its last value: the data plane outlives the control plane.
            if !routes.has_changed().unwrap_or(false) {
                return;
            }
            routes.borrow_and_update().clone()
        };
        if next.version < self.table.borrow().version {
            return;
        }
        self.sites.borrow_mut().retain(|host, site| {
            next.hosts.get(host).is_some_and(|route| Arc::ptr_eq(route, &site.route) || **route == *site.route)
        });
        *self.table.borrow_mut() = next;
        self.retire_instances();
        self.changed.notify_waiters();
    }

    /// Answers a departure as soon as the instance is unused here.
    pub(crate) fn depart(&self, departure: &Departure) {
        // From now on no request of this thread can begin on the instance.
        self.refresh();
        match self.instances.borrow().get(&departure.instance) {
            Some(instance) => instance.report_idle(departure.ticket),
            None => drop(self.notes.send(Note::Idle(departure.ticket))),
        }
    }

    /// Once a second: deadlines, and what is no longer needed.
    pub(crate) fn tick(&self) {
        self.ticks.advance();
        self.refresh();
        self.clients.each(|client| client.check(&self.config.timeouts));
        self.tell_visits();
        let mut instances = self.instances.borrow_mut();
        for instance in instances.values() {
            instance.check(&self.config.timeouts);
        }
        self.still_used(&instances);
        instances.retain(|_, instance| !instance.is_gone());
    }

    /// What is in flight is use, however long ago it began: a websocket, a stream, a request that is held.
    fn still_used(&self, instances: &HashMap<String, Rc<Instance>>) {
        let busy = instances.values().filter(|instance| instance.is_busy()).map(|instance| instance.space);
        let spaces: HashSet<SpaceId> = busy.chain(self.held.borrow().keys().copied()).collect();
        for space in spaces {
            let event = ProxyEvent::Activity { space, at: (self.config.clock)() };
            // A full channel means that control is behind; the next second tells it the same.
            let _ = self.events.try_send(event);
        }
    }

    /// Takes every table as it comes, for those who wait for one.
    pub(crate) async fn table_changes(&self) {
        let mut routes = self.routes.borrow().clone();
        while routes.changed().await.is_ok() {
            routes.borrow_and_update();
            self.refresh();
        }
        // The control plane has ended; what it said last holds.
        std::future::pending().await
    }

    fn instance(&self, name: &str, address: std::net::SocketAddr, space: SpaceId) -> Rc<Instance> {
        let mut instances = self.instances.borrow_mut();
        if let Some(instance) = instances.get(name)
            && instance.address == address
        {
            instance.revive();
            return instance.clone();
        }
        let limit = self.config.connections_per_instance.div_ceil(self.config.threads.max(1));
        let instance = Instance::new(name, address, space, limit, self.notes.clone(), self.ticks.clone());
        instances.insert(name.to_owned(), instance.clone());
        instance
    }

    fn retire_instances(&self) {
        let sites = self.sites.borrow();
        let used: HashSet<&str> =
            sites.values().filter_map(|site| site.instance.as_ref()).map(|instance| instance.name.as_str()).collect();
        for instance in self.instances.borrow().values() {
            if !used.contains(instance.name.as_str()) && !instance.is_retired() {
                instance.retire();
                let _ = self.notes.send(Note::Left(instance.name.clone()));
            }
        }
    }
}

fn response_headers(route: &Route) -> Vec<(HeaderName, HeaderValue)> {
    let parse = |(name, value): &(String, String)| {
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        if header.is_none() {
            tracing::warn!(space.id = %route.space, header = %name, "a response header of the route is not valid");
        }
        header
    };
    route.response_headers.iter().filter_map(parse).collect()
}
