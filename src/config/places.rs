//! Where things were written, for findings of those who know what a configuration means.
//!
//! Whether a `[[test]]` holds is found out by the router, and whether a name has an address by the
//! resolver. Both see typed data, which has no places; here it gets them back, so that such a
//! finding looks like every other one.

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::node::{Node, Text};

/// The places of everything that a configuration holds.
#[derive(Debug, Clone)]
pub struct Places {
    root: Node,
}

/// Something that a `[[test]]` expects and does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Keys of the setting in the test, such as `expect` and `route`.
    pub setting: &'static [&'static str],
    /// The whole of it: ``route `api` was expected, it is `web` ``.
    pub sentence: String,
    /// What is said at the setting's place: ``it is `web` ``.
    pub found: String,
}

impl Places {
    pub(super) fn new(root: Node) -> Self {
        Self { root }
    }

    /// The finding about the `[[test]]` with this number, from 0, which does not hold.
    pub fn failed_test(
        &self,
        index: usize,
        request: &str,
        differences: &[Difference],
    ) -> Diagnostic {
        let sentences: Vec<&str> = differences
            .iter()
            .map(|difference| difference.sentence.as_str())
            .collect();
        let title = format!("the test `{request}` fails: {}", sentences.join("; "));
        let mut finding = Diagnostic::new(Code::FailedTest, title)
            .help("`evenkeel route` tells which route gets a request, and why");
        let Some(test) = self.root.at(&["test"]).map(Node::items) else {
            return finding;
        };
        let Some(test) = test.get(index) else {
            return finding;
        };
        for difference in differences {
            let place = test
                .at(difference.setting)
                .map_or(test.place, |at| at.place);
            finding = if finding.primary.is_none() {
                finding.at(place, &difference.found)
            } else {
                finding.also(place, &difference.found)
            };
        }
        match test.at(&["request"]) {
            Some(request) => finding.also(request.place, "this request"),
            None => finding,
        }
    }

    /// The finding about an endpoint, as it is written, whose name has no address.
    pub fn no_address(&self, upstream: &str, endpoint: &str, why: &str) -> Diagnostic {
        let written = self.endpoint(upstream, endpoint);
        let endpoint = written.and_then(Node::text).map_or(endpoint, Text::shown);
        let title =
            format!("endpoint `{endpoint}` of upstream `{upstream}` cannot be looked up: {why}");
        let finding = Diagnostic::new(Code::NoAddress, title)
            .help("correct the name, or write an address instead of it");
        match written {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about a listener's certificate that cannot be used: which of them, and the
    /// setting whose file is wrong.
    pub fn certificate(&self, listener: &str, which: (usize, &str), why: &str) -> Diagnostic {
        let (index, setting) = which;
        let title = format!("listener `{listener}`: a certificate cannot be used");
        let finding =
            Diagnostic::new(Code::Certificate, title).help("correct the path, or mend the file");
        match self.certificate_file(listener, index, setting) {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about a listener's certificate that has expired or will soon.
    pub fn expiring(&self, listener: &str, index: usize, why: &str) -> Diagnostic {
        let title = format!("listener `{listener}`: a certificate is not valid for long");
        let finding = Diagnostic::new(Code::Expiry, title).help("have it renewed");
        match self.certificate_file(listener, index, "cert") {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about a file of an upstream's TLS that cannot be used: which setting names it.
    pub fn material(&self, upstream: &str, setting: &[&str], why: &str) -> Diagnostic {
        let title = format!("upstream `{upstream}`: a certificate cannot be used");
        let finding =
            Diagnostic::new(Code::Certificate, title).help("correct the path, or mend the file");
        match self.upstream_tls(upstream, setting) {
            Some(written) => finding.at(written.place, why),
            None => finding.help(why),
        }
    }

    /// The finding about a certificate that endpoints are shown, which has expired or will soon.
    pub fn expiring_of_upstream(&self, upstream: &str, why: &str) -> Diagnostic {
        let title = format!("upstream `{upstream}`: a certificate is not valid for long");
        let finding = Diagnostic::new(Code::Expiry, title).help("have it renewed");
        match self.upstream_tls(upstream, &["certificate", "cert"]) {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about what is stapled to a listener's certificate and does not hold now.
    pub fn stale_ocsp(&self, listener: &str, index: usize, why: &str) -> Diagnostic {
        let title = format!("listener `{listener}`: an OCSP response is not shown");
        let finding =
            Diagnostic::new(Code::StaleOcsp, title).help("see why no newer one is fetched");
        match self.certificate_file(listener, index, "ocsp") {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about what should be stapled to a listener's certificate, and cannot be.
    pub fn unshown_ocsp(&self, listener: &str, index: usize, why: &str) -> Diagnostic {
        let title = format!("listener `{listener}`: an OCSP response cannot be shown");
        let finding =
            Diagnostic::new(Code::UnshownOcsp, title).help("fetch another, or leave `ocsp` away");
        match self.certificate_file(listener, index, "ocsp") {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about a rule for clients whose authorities cannot be used: which of the rules,
    /// and which of its lists if it is one of them that is wrong.
    pub fn client_authority(
        &self,
        listener: &str,
        which: (usize, Option<usize>),
        why: &str,
    ) -> Diagnostic {
        let title = format!("listener `{listener}`: authorities of clients cannot be used");
        let finding = Diagnostic::new(Code::ClientAuthority, title)
            .help("correct the path, or mend the file");
        self.at_rule(finding, listener, which, why)
    }

    /// The finding about a list of revoked certificates whose time has passed.
    pub fn old_revocations(
        &self,
        listener: &str,
        which: (usize, Option<usize>),
        why: &str,
    ) -> Diagnostic {
        let title = format!("listener `{listener}`: a list of revoked certificates is old");
        let finding = Diagnostic::new(Code::OldRevocations, title).help("have it renewed");
        self.at_rule(finding, listener, which, why)
    }

    /// The finding about an authority that has no list of revoked certificates, where others do.
    pub fn no_revocations(&self, listener: &str, rule: usize, authority: &str) -> Diagnostic {
        let title = format!("listener `{listener}`: clients of `{authority}` are refused");
        let finding = Diagnostic::new(Code::NoRevocations, title)
            .help("add the authority's list to `crl`, or take the authority out of `ca`");
        let why = "none of the lists is of this authority";
        self.at_rule(finding, listener, (rule, None), why)
    }

    fn at_rule(
        &self,
        finding: Diagnostic,
        listener: &str,
        (rule, list): (usize, Option<usize>),
        why: &str,
    ) -> Diagnostic {
        let rules = self
            .root
            .at(&["listener", listener, "tls", "client_certificates"]);
        let rule = rules.and_then(|rules| rules.items().get(rule));
        let file = rule.and_then(|rule| match list {
            None => rule.at(&["ca"]),
            Some(list) => rule.at(&["crl"])?.items().get(list),
        });
        match file {
            Some(file) => finding.at(file.place, why),
            None => finding,
        }
    }

    /// The finding about a host of a route that no certificate of these listeners is for.
    pub fn uncovered_host(
        &self,
        route: &str,
        (index, host): (usize, &str),
        listeners: &[&str],
    ) -> Diagnostic {
        let hosts = self.root.at(&["route", route, "hosts"]);
        let written = hosts.and_then(|hosts| hosts.items().get(index));
        let host = written.and_then(Node::text).map_or(host, Text::shown);
        let title = format!("no certificate is for host `{host}` of route `{route}`");
        let finding = Diagnostic::new(Code::UncoveredHost, title)
            .help("a route that is meant for plain HTTP names its listener");
        let listeners: Vec<String> = listeners.iter().map(|name| format!("`{name}`")).collect();
        let why = format!("asked for over TLS at {}", listeners.join(", "));
        match written {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about the file with the token of the admin API, which cannot be used.
    pub fn token_file(&self, why: &str) -> Diagnostic {
        let title = "the token of the admin API cannot be used";
        let finding =
            Diagnostic::new(Code::TokenFile, title).help("correct the path, or mend the file");
        match self.root.at(&["admin", "token_file"]) {
            Some(written) => finding.at(written.place, why),
            None => finding,
        }
    }

    /// The finding about a last good configuration that is asked for and kept nowhere.
    pub fn keeps_nothing(&self) -> Diagnostic {
        let title = "the last good configuration is asked for, and kept nowhere";
        Diagnostic::new(Code::KeepsNothing, title).help("set `state_dir`")
    }

    /// What is written at a setting of an upstream's TLS, or else the whole of it.
    fn upstream_tls(&self, upstream: &str, setting: &[&str]) -> Option<&Node> {
        let tls = self.root.at(&["upstream", upstream, "tls"])?;
        Some(tls.at(setting).unwrap_or(tls))
    }

    /// The finding about a name of a listener's certificate that no route has.
    pub fn unused_name(&self, listener: &str, index: usize, name: &str) -> Diagnostic {
        let title = format!("no route of listener `{listener}` is for `{name}`");
        let finding = Diagnostic::new(Code::UnusedCertificateName, title);
        match self.certificate_file(listener, index, "cert") {
            Some(written) => finding.at(written.place, "a name of this certificate"),
            None => finding,
        }
    }

    fn certificate_file(&self, listener: &str, index: usize, which: &str) -> Option<&Node> {
        let path = ["listener", listener, "tls", "certificates"];
        self.root.at(&path)?.items().get(index)?.at(&[which])
    }

    fn endpoint(&self, upstream: &str, endpoint: &str) -> Option<&Node> {
        let written = self.root.at(&["upstream", upstream]);
        let zones = written.and_then(|written| written.at(&["zone"])?.table());
        let zones = zones.into_iter().flatten().map(|(_, zone)| &zone.value);
        let of_listener = upstream.strip_prefix("listener.");
        let unnamed = of_listener.and_then(|listener| self.root.at(&["listener", listener, "to"]));
        written
            .into_iter()
            .chain(zones)
            .filter_map(|holder| holder.at(&["endpoints"]))
            .chain(unnamed)
            .flat_map(Node::items)
            .map(|item| item.at(&["address"]).unwrap_or(item))
            .find(|item| item.str() == Some(endpoint))
    }
}
