//! What is made of what the kernel says.

use super::*;

#[test]
fn the_hard_limit_counts() {
    let text = "Limit Soft Hard Units\nMax open files            1024                 524288               files\n";
    assert_eq!(limits::hard_limit(text), Some(524_288));
    let none = "Max open files  1024  unlimited  files\n";
    assert_eq!(limits::hard_limit(none), Some(u64::MAX));
    assert_eq!(limits::hard_limit(""), None);
    assert_eq!(limits::judged(512, None).level, Level::Bad);
    assert_eq!(limits::judged(4_096, Some(20_256)).level, Level::Warn);
    assert_eq!(limits::judged(65_536, Some(20_256)).level, Level::Ok);
}

#[test]
fn who_listens_is_found_in_the_kernels_table() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000  0 0 111 1\n\
        1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 222 1\n";
    assert_eq!(ports::inode_of(table, 8080, false).as_deref(), Some("222"));
    assert_eq!(ports::inode_of(table, 8080, true).as_deref(), Some("111"));
    assert_eq!(ports::inode_of(table, 80, false), None);
}

#[test]
fn a_quota_that_is_used_up_often_is_told() {
    let stat = |throttled| format!("usage_usec 5\nnr_periods 1000\nnr_throttled {throttled}\n");
    assert_eq!(
        cgroup::throttled(&stat(3)).map(|one| one.level),
        Some(Level::Ok)
    );
    assert_eq!(
        cgroup::throttled(&stat(300)).map(|one| one.level),
        Some(Level::Warn)
    );
    assert_eq!(cgroup::throttled("usage_usec 5\n"), None);
}

#[test]
fn the_kernels_version_is_read() {
    assert_eq!(kernel::version_of("6.1.0-18-amd64"), Some((6, 1)));
    assert_eq!(kernel::version_of("5.4.0"), Some((5, 4)));
    assert_eq!(kernel::version_of("?"), None);
}
