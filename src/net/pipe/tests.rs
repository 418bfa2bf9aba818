use tokio::time::Instant;

use super::pool::PAUSE;
use super::*;

#[test]
fn a_pipe_that_holds_bytes_takes_no_more() {
    let (mut writer, source) = UnixStream::pair().expect("a pair");
    writer.write_all(b"12").expect("open");
    let mut pipe = Pipe::take().expect("a pipe");
    assert_eq!(pipe.draw(source.as_fd(), 1).expect("bytes are there"), 1);
    assert!(pipe.draw(source.as_fd(), 1).is_err());
    assert_eq!(pipe.held(), 1);
}

#[test]
fn a_silent_socket_would_block() {
    let (_writer, source) = UnixStream::pair().expect("a pair");
    let mut pipe = Pipe::take().expect("a pipe");
    let drawn = pipe.draw(source.as_fd(), usize::MAX);
    assert_eq!(
        drawn.expect_err("nothing came").kind(),
        io::ErrorKind::WouldBlock
    );
}

#[test]
fn what_is_lacking_now_is_tried_again_and_what_is_forbidden_is_not() {
    let lacks = || Err(Errno::MFILE.into());
    assert!(!works(lacks));
    assert!(!works(|| Ok(())), "it was lacking a moment ago");
    PAUSE.set(Some(Instant::now()));
    assert!(works(|| Ok(())), "the second is over");
    assert!(works(lacks), "known");
    WORKS.set(None);
    assert!(!works(|| Err(Errno::PERM.into())));
    assert!(!works(|| Ok(())), "forbidden for good");
    assert_eq!(PAUSE.get().map(|until| until <= Instant::now()), Some(true));
}
