//! Ready-made plugins, with closures that are hostile.

use std::time::Duration;

#[cfg(feature = "cookie")]
use ethreads::http::Result;
#[cfg(feature = "cookie")]
use ethreads::http::middleware::{MemoryStore, Session, SessionStore, sessions};
use ethreads::http::middleware::{basic_auth, bearer_auth, cors, health, rate_limit};
use ethreads::http::{App, Handler, HandlerError, Method, Request};

use crate::http::util::Site;

#[cfg(feature = "cookie")]
use super::apps::Note;
use super::kit::Kit;
use super::servers::played_with;
use super::{Play, Row, row};

pub(super) fn rows() -> Vec<Row> {
    let rows = vec![
        row("http::basic_auth", "Fn", |kit| {
            app(kit, "authorization: Basic YTpi\r\n", |app, kit| {
                let check = move |_: &str, _: &str| {
                    kit.call();
                    Ok(Some(()))
                };
                app.apply(basic_auth("a", check))
            })
        }),
        row("http::bearer_auth", "Fn", |kit| {
            app(kit, "authorization: Bearer a\r\n", |app, kit| {
                let check = move |_: &str| {
                    kit.call();
                    Ok(Some(kit.value()))
                };
                app.apply(bearer_auth("a", check))
            })
        }),
        row("http::Cors::origin_if", "Fn", |kit| {
            app(kit, "origin: https://a.example\r\n", |app, kit| {
                let rule = move |_: &str, _: &Request| {
                    kit.call();
                    true
                };
                app.apply(cors().origin_if(rule))
            })
        }),
        row("http::RateLimit::key", "Fn", |kit| {
            app(kit, "", |app, kit| {
                let key = move |_: &Request| {
                    kit.call();
                    Some("a".to_owned())
                };
                app.apply(rate_limit(100, Duration::from_secs(1)).key(key))
            })
        }),
        row("http::Health::check", "Fn", |kit| {
            app(kit, "", |_, kit| {
                let check = move || {
                    kit.call();
                    Ok(())
                };
                let probes = App::new().apply(health().ready_at("/bad").check("a", check));
                App::new().any("/bad", move |request: &mut Request| {
                    let set = request.set_method(Method::GET);
                    set.map(|()| probes.handle(request))
                        .map_err(HandlerError::from)
                })
            })
        }),
    ];
    #[cfg(feature = "cookie")]
    let rows = rows.into_iter().chain(kept());
    rows.into_iter().map(Row::shielded).collect()
}

/// Strikes when it loads or saves.
#[cfg(feature = "cookie")]
struct Store(Kit);

#[cfg(feature = "cookie")]
impl SessionStore for Store {
    fn load(&self, _: &str) -> Result<Option<Vec<u8>>> {
        self.0.strike("SessionStore");
        Ok(None)
    }

    fn save(&self, _: &str, _: &[u8], _: Duration) -> Result<()> {
        self.0.strike("SessionStore");
        Ok(())
    }

    fn delete(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

#[cfg(feature = "cookie")]
fn kept() -> Vec<Row> {
    const COOKIE: &str = "cookie: session=0123456789012345678901234567890123456789\r\n";
    vec![
        row("http::sessions", "SessionStore", |kit| {
            app(kit, COOKIE, |_, kit| {
                let app = App::new().any("/bad", |session: Session| session.is_empty().to_string());
                app.apply(sessions(Store(kit)))
            })
        }),
        row("http::sessions", "SessionStore", |kit| {
            app(kit, "", |_, kit| {
                let app = App::new().any("/bad", |session: Session| session.insert("a", 1));
                app.apply(sessions(Store(kit)))
            })
        })
        .called("saves"),
        row("http::Session::insert", "Serialize", |kit| {
            app(kit, "", |_, kit| {
                let insert = move |session: Session| session.insert("a", Note(kit.value()));
                App::new()
                    .any("/bad", insert)
                    .apply(sessions(MemoryStore::new()))
            })
        }),
        row("http::Session::get", "Deserialize", |kit| {
            app(kit, "", |_, _| {
                let get = |session: Session| {
                    session.insert("a", [0_u8; 0])?;
                    session.get::<Note>("a").map(drop)
                };
                App::new()
                    .any("/bad", get)
                    .apply(sessions(MemoryStore::new()))
            })
        }),
    ]
}

/// A site with two routes, the hostile one of which has the plugin that `build` applies.
fn app(kit: &Kit, fields: &'static str, build: fn(App, Kit) -> App) -> Play {
    played_with(kit, fields, move |kit| {
        let hostile = build(App::new().any("/bad", || "done"), kit);
        Site::new(App::new().get("/good", || "good").merge(hostile))
    })
}

#[test]
fn plugins_stay_sound() {
    super::run_all(rows());
}
