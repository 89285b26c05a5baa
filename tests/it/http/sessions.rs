//! Sessions of a served app, in a store that waits.

use std::rc::Rc;
use std::time::Duration;

use ethreads::http::middleware::{MemoryStore, Session, SessionStore, sessions};
use ethreads::http::{App, Path, Result};
use ethreads::sync::channel::{self, Receiver, Sender};
use ethreads::thread;

use crate::http::util::{Answer, Client, Site, on_a_shard, settle};

/// A store, each call of which tells its name, and then waits until it may go on.
struct Slow {
    store: MemoryStore,
    called: Sender<&'static str>,
    goes_on: Receiver<()>,
}

impl Slow {
    fn wait(&self, call: &'static str) {
        self.called.send(call).unwrap();
        self.goes_on.recv().unwrap();
    }
}

impl SessionStore for Slow {
    fn load(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.wait("load");
        self.store.load(id)
    }

    fn save(&self, id: &str, data: &[u8], max_age: Duration) -> Result<()> {
        self.wait("save");
        self.store.save(id, data, max_age)
    }

    fn update(&self, id: &str, data: &[u8], max_age: Duration) -> Result<bool> {
        self.wait("update");
        self.store.update(id, data, max_age)
    }

    fn delete(&self, id: &str) -> Result<()> {
        self.wait("delete");
        self.store.delete(id)
    }
}

fn set(session: Session, Path(user): Path<String>) -> Result<()> {
    session.insert("user", user)
}

fn show(session: Session) -> Result<String> {
    Ok(session.get("user")?.unwrap_or_default())
}

/// A site with a slow store, and the ends of its channels.
fn slow() -> (Site, Receiver<&'static str>, Sender<()>, MemoryStore) {
    let (called, calls) = channel::unbounded();
    let (go_on, goes_on) = channel::unbounded();
    let store = MemoryStore::new();
    let slow = Slow {
        store: store.clone(),
        called,
        goes_on,
    };
    let app = App::new()
        .get("/none", || "none")
        .get("/show", show)
        .get("/set/{user}", set)
        .get("/destroy", |session: Session| session.destroy())
        .apply(sessions(Rc::new(slow)));
    (Site::new(app), calls, go_on, store)
}

fn ask(client: &mut Client, path: &str, cookie: &str) {
    client.send(format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n"
    ));
}

fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap();
    set.split(';').next().unwrap().to_owned()
}

#[test]
fn other_connections_are_served_while_a_store_waits() {
    on_a_shard(|| {
        let (site, calls, go_on, _) = slow();
        let (mut first, mut second) = (site.connect(), site.connect());
        ask(&mut first, "/set/ann", "");
        assert_eq!(calls.recv(), Ok("save"));
        assert_eq!(second.get("/none").text(), "none");
        go_on.send(()).unwrap();
        let id = cookie(&first.answer());
        ask(&mut first, "/show", &id);
        assert_eq!(calls.recv(), Ok("load"));
        assert_eq!(second.get("/none").text(), "none");
        go_on.send(()).unwrap();
        assert_eq!(first.answer().text(), "ann");
        drop((first, second));
        site.end();
    });
}

#[test]
fn a_session_ends_although_another_request_changes_it() {
    on_a_shard(|| {
        let (site, calls, go_on, store) = slow();
        let (mut first, mut second) = (site.connect(), site.connect());
        go_on.send(()).unwrap();
        ask(&mut first, "/set/ann", "");
        let id = cookie(&first.answer());
        assert_eq!(calls.recv(), Ok("save"));

        // Both have loaded it; then one changes it, and the other ends it first.
        ask(&mut first, "/set/bob", &id);
        ask(&mut second, "/destroy", &id);
        assert_eq!((calls.recv(), calls.recv()), (Ok("load"), Ok("load")));
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        let mut both = [calls.recv().unwrap(), calls.recv().unwrap()];
        both.sort_unstable();
        assert_eq!(both, ["delete", "update"]);
        store.delete(&id["session=".len()..]).unwrap();
        go_on.send(()).unwrap();
        go_on.send(()).unwrap();
        // The other one tells the client.
        assert_eq!(first.answer().header("set-cookie"), None);
        assert_eq!(cookie(&second.answer()), "session=");
        assert!(store.is_empty());
        drop((first, second));
        site.end();
    });
}

#[test]
fn a_cancelled_connection_saves_nothing() {
    on_a_shard(|| {
        let (site, calls, go_on, store) = slow();
        let mut client = site.connect();
        ask(&mut client, "/set/ann", "");
        assert_eq!(calls.recv(), Ok("save"));
        // The end of the drain cancels the request, which waits in the store.
        site.handle.drain(Duration::ZERO);
        site.served.join().unwrap().unwrap();
        drop((client, go_on));
        settle();
        thread::yield_now();
        assert!(store.is_empty());
    });
}
