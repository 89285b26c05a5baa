//! Apps: middleware, error pages, extractors, and values.

use std::error::Error;
use std::fmt::{self, Write as _};

#[cfg(feature = "gzip")]
use ethreads::http::middleware::{Coding, compression};
use ethreads::http::{
    App, Event, Extension, Files, HandlerError, IntoResponse, Json, Request, Response, Sse, State,
    StatusCode,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::http::util::Site;

use super::kit::{Hostile, Kit};
use super::servers::played;
use super::{Play, Row, row};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = around();
    rows.extend(failed());
    rows.extend(extracted());
    rows.extend(sent());
    rows.into_iter().map(Row::shielded).chain(texts()).collect()
}

/// A server with an app, to which `build` adds what is hostile.
fn app(kit: &Kit, build: fn(App, Kit) -> App) -> Play {
    played(kit, move |kit| {
        let app = App::new().get("/good", || "good");
        Site::new(build(app, kit))
    })
}

/// Strikes when it is converted into a response.
struct Answer(Hostile);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0.strike("IntoResponse");
        "done".into_response()
    }
}

fn around() -> Vec<Row> {
    vec![
        row("http::App::get", "Handler", |kit| {
            app(kit, |app, kit| {
                app.any("/bad", move || {
                    kit.strike("Handler");
                    "done"
                })
            })
        }),
        row("http::App::around", "Fn", |kit| {
            app(kit, |app, kit| {
                let around = move |request: &mut Request, next: ethreads::http::Next<'_>| {
                    kit.call();
                    next.run(request)
                };
                app.any("/bad", || "done").around(around)
            })
        }),
        row("http::App::around", "Fn", |kit| {
            app(kit, |app, kit| {
                let around = move |request: &mut Request, next: ethreads::http::Next<'_>| {
                    let response = next.run(request);
                    kit.call();
                    response
                };
                app.any("/bad", || "done").around(around)
            })
        })
        .called("afterwards"),
        #[cfg(feature = "gzip")]
        row("http::Compression::types", "Fn", |kit| {
            app(kit, |app, kit| {
                let settings = compression().types(move |_| {
                    kit.call();
                    true
                });
                app.any("/bad", || "done ".repeat(1000)).apply(settings)
            })
        }),
        #[cfg(feature = "gzip")]
        row("http::Compression::codings", "Iterator", |kit| {
            app(kit, |app, kit| {
                app.any("/bad", move || {
                    let settings = compression().codings(kit.each([Coding::Gzip]));
                    format!("{settings:?}")
                })
            })
        }),
        row("http::App::around", "IntoResponse", |kit| {
            app(kit, |app, kit| {
                let hostile = App::new()
                    .any("/bad", || "done")
                    .around(move |_, _| Answer(kit.value()));
                app.merge(hostile)
            })
        }),
    ]
}

/// An error that strikes while it is looked at.
#[derive(Debug)]
struct Failed(#[allow(dead_code)] Hostile);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl Error for Failed {}

/// An app whose route `/bad` fails.
fn failing(app: App, kit: &Kit) -> App {
    let kit = kit.clone();
    app.any("/bad", move || {
        Err::<(), HandlerError>(Failed(kit.value()).into())
    })
}

fn failed() -> Vec<Row> {
    vec![
        row("http::App::on_error", "Fn", |kit| {
            app(kit, |app, kit| {
                failing(app, &kit).on_error(move |_, _| {
                    kit.call();
                    StatusCode::OK
                })
            })
        }),
        row("http::App::on_error", "IntoResponse", |kit| {
            app(kit, |app, kit| {
                failing(app, &kit).on_error(move |_, _| Answer(kit.value()))
            })
        }),
        row("http::App::status_of", "Fn", |kit| {
            app(kit, |app, kit| {
                failing(app, &kit).status_of(move |_: &Failed| {
                    kit.call();
                    Some(StatusCode::OK)
                })
            })
        }),
    ]
}

fn sent() -> Vec<Row> {
    vec![
        row("http::Sse::new", "Fn", |kit| {
            app(kit, |app, kit| {
                let write = move |kit: Kit| {
                    Sse::new(move |events| {
                        events.send(Event::new().data("a"))?;
                        kit.call();
                        events.send(Event::new().data("b"))
                    })
                };
                app.any("/bad", move || write(kit.clone()))
            })
        }),
        row("http::Sse::new", "Drop", |kit| {
            app(kit, |app, kit| {
                app.any("/bad", move || {
                    let value = kit.value();
                    Sse::new(move |events| {
                        drop(value);
                        events.send(Event::new().data("b"))
                    })
                })
            })
        }),
    ]
}

/// Strikes when it is read from JSON, or written as JSON.
pub(super) struct Note(pub(super) Hostile);

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Vec<u8>>::deserialize(deserializer)?;
        let kit = Kit::of_this_thread().expect("a test has set it");
        kit.strike("Deserialize");
        Ok(Self(kit.value()))
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.strike("Serialize");
        serializer.serialize_unit()
    }
}

fn extracted() -> Vec<Row> {
    vec![
        row("http::Extension::from_request", "Clone", |kit| {
            app(kit, |app, kit| {
                app.any("/bad", |_: Extension<Hostile>| "done")
                    .around(move |request, next| {
                        if request.path() == "/bad" {
                            request.insert(kit.value());
                        }
                        next.run(request)
                    })
            })
        }),
        row("http::Json::from_request", "Deserialize", |kit| {
            app(kit, |app, _| app.any("/bad", |_: Json<Note>| "done"))
        }),
        row("http::Json::into_response", "Serialize", |kit| {
            app(kit, |app, kit| {
                app.any("/bad", move || Json(Note(kit.value())))
            })
        }),
    ]
}

#[cfg(feature = "multipart")]
fn upload_path() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("ethreads-hostile-upload-{}", std::process::id()))
}

/// A form with one field.
#[cfg(feature = "multipart")]
fn form() -> ethreads::http::Multipart {
    use ethreads::http::FromRequest;
    let request = Request::post("/")
        .header("content-type", "multipart/form-data; boundary=x")
        .body("--x\r\na: b\r\n\r\nabc\r\n--x--");
    ethreads::http::Multipart::from_request(&mut request.build().unwrap()).unwrap()
}

fn texts() -> Vec<Row> {
    vec![
        row("http::App::fmt", "Write", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let app = App::new().get("/", || "");
                let _ = write!(kit.pen(), "{app:?}");
                assert_eq!(app.call(Request::get("/")).status(), 200);
            })
        }),
        row("http::Files::new", "AsRef", |kit| {
            let root = kit.path(std::env::temp_dir());
            Play::call(move || drop(Files::new(root).unwrap()))
        }),
        #[cfg(feature = "multipart")]
        row("http::MultipartField::save_to", "AsRef", |kit| {
            let to = kit.path(upload_path());
            Play::call(move || {
                let mut form = form();
                let mut field = form.next_field().unwrap().unwrap();
                assert_eq!(field.save_to(to).unwrap(), 3);
                std::fs::remove_file(upload_path()).unwrap();
            })
        }),
        #[cfg(feature = "multipart")]
        row("http::TempFile::persist", "AsRef", |kit| {
            let to = kit.path(upload_path());
            Play::call(move || {
                let mut form = form();
                let mut field = form.next_field().unwrap().unwrap();
                field.to_temp_file().unwrap().persist(to).unwrap();
                std::fs::remove_file(upload_path()).unwrap();
            })
        }),
        row("http::Response::fmt", "Write", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let response = "a".into_response();
                let _ = write!(kit.pen(), "{response:?}");
                assert_eq!(response.status(), 200);
            })
        }),
        row("http::State::fmt", "Debug", |kit| {
            let kit = kit.clone();
            Play::call(move || {
                let state = State(std::rc::Rc::new(kit.value()));
                let _ = format!("{state:?}");
            })
        }),
    ]
}

#[test]
fn apps_stay_sound() {
    super::run_all(rows());
}
