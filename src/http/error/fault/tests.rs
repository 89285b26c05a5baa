use super::*;
use crate::http::error::HandlerError;

/// One of each kind, with the status and the kind of `io::Error` it becomes.
fn all() -> Vec<(Error, Option<u16>, io::ErrorKind)> {
    use io::ErrorKind::{
        BrokenPipe, FileTooLarge, InvalidData, InvalidInput, TimedOut, UnexpectedEof,
    };
    vec![
        (ProtoError::HostMissing.into(), Some(400), InvalidData),
        (ProtoError::CodingUnknown.into(), Some(501), InvalidData),
        (
            ProtoError::HeadTooLarge { limit: 1 }.into(),
            Some(431),
            InvalidData,
        ),
        (Error::body_incomplete(1, Some(2)), Some(400), UnexpectedEof),
        (Error::body_incomplete(1, None), Some(400), UnexpectedEof),
        (Error::body_too_large(1), Some(413), FileTooLarge),
        (Error::response_too_long(1), None, InvalidInput),
        (Error::response_too_short(2, 1), None, InvalidInput),
        (
            Error::response_failed(BrokenPipe.into()),
            None,
            InvalidInput,
        ),
        (Error::timeout(Phase::Head), Some(408), TimedOut),
        (Error::timeout(Phase::Body), Some(408), TimedOut),
        (Error::timeout(Phase::Write), None, TimedOut),
        (io::Error::from(BrokenPipe).into(), None, BrokenPipe),
    ]
}

/// Review by eye with `--nocapture`: grammar, and expected beside got.
#[test]
fn messages_are_lower_case_without_full_stop() {
    let ours = all().into_iter().map(|(error, ..)| error.to_string());
    for message in ours.chain(all_proto_errors().map(|error| error.to_string())) {
        println!("{message}");
        assert!(!message.ends_with('.') && !message.is_empty(), "{message}");
        assert!(
            message.starts_with(|c: char| c.is_ascii_lowercase()),
            "{message}"
        );
    }
}

fn all_proto_errors() -> impl Iterator<Item = ProtoError> {
    use ProtoError::*;
    [
        RequestLine,
        RequestLineTooLong { limit: 1 },
        MethodTooLong { limit: 1 },
        VersionMalformed,
        VersionUnsupported,
        LineEnd,
        LineEndsMixed,
        LineFolded,
        FieldName,
        FieldValue,
        HeadTooLarge { limit: 1 },
        TooManyFields { limit: 1 },
        Target,
        Misdirected,
        ConnectRefused,
        HostMissing,
        HostRepeated,
        HostMalformed,
        LengthMalformed,
        LengthRepeated,
        LengthAndCoding,
        CodingMalformed,
        CodingOnHttp10,
        CodingNotChunkedLast,
        CodingRepeated,
        CodingUnknown,
        ExpectationUnknown,
        ChunkSize { got: 0 },
        ChunkSizeTooLarge,
        ChunkExtension { got: 0 },
        ChunkExtensionsTooLarge { limit: 1 },
        ChunkLineEnd { got: 0 },
        Trailer { got: 0 },
        TrailerTooLarge { limit: 1 },
    ]
    .into_iter()
}

#[test]
fn every_error_blames_exactly_one_side() {
    for (error, ..) in all() {
        let blamed = [
            error.is_peer(),
            error.is_user(),
            error.is_io(),
            error.is_limit(),
            error.is_timeout(),
        ];
        assert_eq!(blamed.iter().filter(|&&b| b).count(), 1, "{error:?}");
    }
    assert!(Error::from(ProtoError::HeadTooLarge { limit: 1 }).is_limit());
    assert!(Error::from(ProtoError::HostMissing).is_peer());
    assert!(Error::response_too_long(1).is_user());
    assert!(Error::timeout(Phase::Head).is_timeout());
}

#[test]
fn status_and_io_kind_follow_from_the_kind() {
    for (error, status, kind) in all() {
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            status,
            "{error:?}"
        );
        let text = format!("{error:?}");
        let wrapped = io::Error::from(error);
        assert_eq!(wrapped.kind(), kind, "{text}");
        assert_eq!(format!("{:?}", Error::from(wrapped)), text);
    }
}

#[test]
fn every_refusal_has_a_status_of_the_peer_or_the_server() {
    for error in all_proto_errors() {
        let status = error.status();
        assert!(
            status.is_client_error() || status.is_server_error(),
            "{error:?}"
        );
        // The predicate and the group agree.
        assert_eq!(Error::from(error).is_limit(), error.is_limit(), "{error:?}");
    }
}

#[test]
fn io_errors_are_the_source() {
    let error = Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
    assert!(error.is_io());
    assert_eq!(error.source().unwrap().to_string(), "connection reset");
    assert_eq!(error.to_string(), "connection failed");
}

#[test]
fn is_one_word_and_may_cross_threads() {
    fn assert_send_sync<T: Send + Sync + 'static>() {}
    assert_send_sync::<Error>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<HandlerError>(), size_of::<usize>());
}
