use super::*;

#[test]
fn times_have_units() {
    for (text, milliseconds) in [
        ("500ms", 500),
        ("30s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("0s", 0),
        ("365d", 365 * 86_400_000),
    ] {
        assert_eq!(text.parse(), Ok(Time(Duration::from_millis(milliseconds))));
    }
}

#[test]
fn what_is_not_a_time_says_why() {
    let reason = |text: &str| text.parse::<Time>().unwrap_err().to_string();
    assert_eq!(reason("30"), "30 of what?");
    assert_eq!(
        reason("30sec"),
        "`sec` is not a unit of time; there are ms, s, m, h and d"
    );
    assert_eq!(
        reason(""),
        "a number and a unit are expected here: 500ms, 30s, 5m, 2h, 1d"
    );
    assert_eq!(
        reason("-1s"),
        "a number and a unit are expected here: 500ms, 30s, 5m, 2h, 1d"
    );
    assert_eq!(reason("366d"), "more than 365d");
    assert_eq!(reason("99999999999999999999s"), "more than 365d");
    assert_eq!(reason("18446744073709551615d"), "more than 365d");
    assert_eq!(
        reason("1.5s"),
        "a smaller unit writes a fraction as a whole number"
    );
    assert!("1h30m".parse::<Time>().is_err());
    assert!("1 s".parse::<Time>().is_err());
    assert!("１s".parse::<Time>().is_err(), "only ASCII digits");
}

#[test]
fn sizes_are_binary_and_strict() {
    assert_eq!("512B".parse(), Ok(Size(512)));
    assert_eq!("64KiB".parse(), Ok(Size(65_536)));
    assert_eq!("1MiB".parse(), Ok(Size(1 << 20)));
    assert_eq!("2GiB".parse(), Ok(Size(2 << 30)));
    let suggestion = |text: &str| {
        let error = text.parse::<Size>().unwrap_err();
        error.suggestion().map(str::to_owned)
    };
    assert_eq!(suggestion("64KB"), Some("64KiB".into()));
    assert_eq!(suggestion("64kb"), Some("64KiB".into()));
    assert_eq!(suggestion("1M"), Some("1MiB".into()));
    assert_eq!(suggestion("4096"), Some("4096B".into()));
    assert_eq!(suggestion("1parsec"), None);
    assert!("1025GiB".parse::<Size>().is_err());
}

#[test]
fn ratios_are_per_cent() {
    assert_eq!("20%".parse(), Ok(Ratio(0.2)));
    assert_eq!("0%".parse(), Ok(Ratio(0.0)));
    assert_eq!("100%".parse(), Ok(Ratio(1.0)));
    assert_eq!("0.5%".parse(), Ok(Ratio(0.005)));
    let suggestion = |text: &str| {
        let error = text.parse::<Ratio>().unwrap_err();
        error.suggestion().map(str::to_owned)
    };
    assert_eq!(suggestion("0.2"), Some("20%".into()));
    assert_eq!(suggestion("20"), Some("20%".into()));
    for bad in ["101%", "-1%", "%", ".5%", "5.%", "1.2.3%", "NaN%", "inf%"] {
        assert!(bad.parse::<Ratio>().is_err(), "{bad}");
    }
}

#[test]
fn what_is_printed_is_read_back() {
    for text in ["500ms", "1500ms", "90s", "5m", "36h", "2d"] {
        assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
    }
    assert_eq!("3600s".parse::<Time>().unwrap().to_string(), "1h");
    assert_eq!("0ms".parse::<Time>().unwrap().to_string(), "0s");
    for text in ["512B", "1000B", "16KiB", "3MiB", "5GiB", "0B"] {
        assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
    }
    for text in ["7%", "20%", "0.5%", "33.3333%", "100%"] {
        assert_eq!(text.parse::<Ratio>().unwrap().to_string(), text);
    }
}
