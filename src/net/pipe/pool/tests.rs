use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use super::*;
use crate::net::pipe::Pipe;

fn in_use() -> usize {
    POOL.with_borrow(|pool| pool.lent.len())
}

fn kept() -> usize {
    POOL.with_borrow(|pool| pool.free.len())
}

/// As if it had been looked long ago.
fn pass_time() {
    POOL.with_borrow_mut(|pool| pool.next_look = None);
}

/// A pipe with these bytes in it.
fn filled(bytes: &[u8]) -> Pipe {
    let (mut writer, source) = UnixStream::pair().expect("a pair");
    writer.write_all(bytes).expect("open");
    let mut pipe = Pipe::take().expect("a pipe");
    let drawn = pipe.draw(source.as_fd(), usize::MAX);
    assert_eq!(drawn.expect("bytes are there"), bytes.len());
    pipe
}

/// All that a pipe holds.
fn rest(pipe: &Pipe) -> Vec<u8> {
    let (sink, mut reader) = UnixStream::pair().expect("a pair");
    let mut bytes = vec![0; pipe.held()];
    while pipe.held() > 0 {
        pipe.lent.empty(sink.as_fd()).expect("open");
    }
    reader.read_exact(&mut bytes).expect("all of it");
    bytes
}

#[test]
fn a_pipe_that_was_refused_is_not_asked_for_at_once() {
    drop(Pipe::take().expect("a pipe"));
    begin_pause();
    let kept = Pipe::take();
    assert!(kept.is_some(), "one that is there already needs no asking");
    assert!(Pipe::take().is_none());
    PAUSE.set(None);
    assert!(Pipe::take().is_some());
}

#[test]
fn empty_pipes_are_kept_and_others_are_not() {
    drop(Pipe::take().expect("a pipe"));
    assert_eq!((in_use(), kept()), (0, 1));
    drop(filled(b"secret"));
    assert_eq!((in_use(), kept()), (0, 0));
}

#[test]
fn their_number_is_bounded() {
    let many: Vec<Pipe> = (0..AT_MOST).filter_map(|_| Pipe::take()).collect();
    assert_eq!(many.len(), AT_MOST);
    assert!(Pipe::take().is_none());
    drop(many);
    assert_eq!((in_use(), kept()), (0, KEPT));
}

#[test]
fn a_pipe_through_which_nothing_moves_is_emptied_for_others() {
    let piece = |number: u8| [number; 3_000];
    let mut stalled: Vec<Pipe> = (0..64).map(|number| filled(&piece(number))).collect();
    assert!(Pipe::take().is_none(), "they may have stalled just now");
    assert!(Pipe::take().is_none(), "nor is it looked at again at once");
    pass_time();
    for _ in 0..2 {
        let others: Vec<Pipe> = (0..65).filter_map(|_| Pipe::take()).collect();
        assert_eq!((others.len(), in_use()), (AT_MOST, AT_MOST));
    }
    for (number, pipe) in (0..).zip(&mut stalled) {
        assert!(!pipe.is_whole());
        assert_eq!(rest(pipe), piece(number));
        assert!(
            pipe.draw(UnixStream::pair().expect("a pair").0.as_fd(), 1)
                .is_err()
        );
    }
    drop(stalled);
    assert_eq!((in_use(), kept()), (0, KEPT));
}

#[test]
fn a_pipe_through_which_something_moves_is_left_alone() {
    let pipes: Vec<Pipe> = (0..64).map(|_| filled(b"much")).collect();
    let (sink, _reader) = UnixStream::pair().expect("a pair");
    assert!(Pipe::take().is_none());
    for moving in &pipes[1..] {
        let held = moving.lent.held.replace(2);
        moving.lent.empty(sink.as_fd()).expect("open");
        moving.lent.held.set(held - 2);
    }
    pass_time();
    assert!(Pipe::take().is_some());
    assert!(!pipes[0].is_whole());
    assert!(pipes[1..].iter().all(Pipe::is_whole));
}

#[test]
fn what_was_found_at_rest_and_moves_again_is_left_alone() {
    let pipes: Vec<Pipe> = (0..64).map(|_| filled(b"much")).collect();
    assert!(Pipe::take().is_none());
    pass_time();
    let one = Pipe::take().expect("all rest");
    for pipe in &pipes {
        rest(pipe);
    }
    assert!(Pipe::take().is_none());
    drop(one);
}

#[test]
fn only_some_hold_more_than_a_copy_would_and_they_are_left_alone() {
    let more = vec![7; LARGE_BUFFER + 1];
    let full = |_| {
        let (mut writer, source) = UnixStream::pair().expect("a pair");
        writer.set_nonblocking(true).expect("a socket");
        let written = writer.write(&more).expect("room");
        let mut pipe = Pipe::take()?;
        pipe.draw(source.as_fd(), usize::MAX)
            .expect("bytes are there");
        assert!(written == more.len() && pipe.held() <= written);
        Some(pipe)
    };
    let pipes: Vec<Pipe> = (0..64).filter_map(full).collect();
    let deep = pipes.iter().filter(|pipe| pipe.held() > LARGE_BUFFER);
    assert_eq!((pipes.len(), deep.count()), (AT_MOST, DEEP));
    assert!(Pipe::take().is_none());
    pass_time();
    let others: Vec<Pipe> = (0..64).filter_map(|_| Pipe::take()).collect();
    assert_eq!(others.len(), AT_MOST - DEEP);
}
