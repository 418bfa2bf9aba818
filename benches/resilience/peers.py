"""The proxies that are compared, each with what its open-source edition offers against bad endpoints.

`defaults` has nothing written but where to listen and where to go; `tuned` is what its documentation
recommends for this purpose, with the same limits for all: connecting 1 s, an answer 2 s (but where a
scenario leaves each proxy its own), and at most one retry of what may be repeated.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


@dataclass(frozen=True)
class Site:
    """One start of a proxy."""

    folder: Path
    port: int
    endpoints: tuple
    other: tuple  # the endpoints of another route, /other
    options: dict

    @property
    def has_limits(self) -> bool:
        """Whether an answer may take 2 s, or what each proxy allows by itself."""
        return self.options.get("limits", True)

    @property
    def has_checks(self) -> bool:
        """Whether endpoints are asked for their health, where a proxy does that at all."""
        return self.options.get("checks", True)


@dataclass(frozen=True)
class Peer:
    name: str
    program: str
    file: str
    configuration: Callable[[Site], str]
    arguments: Callable[[str], list]


def known(evenkeel: Path) -> list:
    def ours(name, **options):
        return Peer(name, str(evenkeel), "evenkeel.toml", lambda site: evenkeel_file(site, **options),
                    lambda file: ["run", "--config", file])

    haproxy, nginx, envoy = ((lambda file: ["-db", "-f", file]), (lambda file: ["-e", "stderr", "-c", file]),
                             (lambda file: ["-c", file, "--log-level", "off", "--concurrency", "2", "--disable-hot-restart"]))
    peers = [
        ours("evenkeel"),
        ours("evenkeel-retry", retry=True),
        ours("evenkeel-hedge", retry=True, hedge=True),
        ours("evenkeel-ewma", balance="peak_ewma"),
        ours("evenkeel-turns", balance="round_robin"),
        Peer("haproxy-defaults", "haproxy", "haproxy.cfg", lambda site: haproxy_file(site, False), haproxy),
        Peer("haproxy-tuned", "haproxy", "haproxy.cfg", lambda site: haproxy_file(site, True), haproxy),
        Peer("nginx-defaults", "nginx", "nginx.conf", lambda site: nginx_file(site, False), nginx),
        Peer("nginx-tuned", "nginx", "nginx.conf", lambda site: nginx_file(site, True), nginx),
        Peer("envoy-defaults", "envoy", "envoy.yaml", lambda site: envoy_file(site, False), envoy),
        Peer("envoy-tuned", "envoy", "envoy.yaml", lambda site: envoy_file(site, True), envoy),
    ]
    return [peer for peer in peers if shutil.which(peer.program)]


def quoted(endpoints) -> str:
    return ", ".join(f'"{endpoint}"' for endpoint in endpoints)


def evenkeel_file(site: Site, balance="", retry=False, hedge=False) -> str:
    timeouts = 'connect = "1s"\nresponse_head = "2s"' if site.has_limits else ""
    retries = '[route.all.retry]\nstatuses = [500, 502, 503]' if retry else ""
    hedges = "[route.all.hedge]" if hedge else ""
    checks = '[upstream.app.health]\nhttp = { path = "/" }' if site.has_checks else ""
    return f"""
version = 1
workers = 2
admin = {{ socket = "{site.folder}/admin.sock", http = "127.0.0.1:{site.options['admin']}" }}
log = {{ output = "{site.folder}/access.log" }}

[defaults.timeouts]
{timeouts}

[listener.web]
bind = "127.0.0.1:{site.port}"

[route.all]
upstream = "app"
{retries}
{hedges}

[route.other]
path = "/other"
upstream = "other"

[upstream.app]
{f'balance = "{balance}"' if balance else ""}
endpoints = [{quoted(site.endpoints)}]
{checks}

[upstream.other]
endpoints = [{quoted(site.other)}]
"""


def haproxy_file(site: Site, tuned: bool) -> str:
    servers = "\n".join(
        f"    server e{number} {endpoint}"
        + (" check inter 2s fall 3 rise 2" if site.has_checks else "")
        + (" observe layer7 error-limit 5 on-error mark-down slowstart 10s" if site.has_checks and tuned else "")
        for number, endpoint in enumerate(site.endpoints)
    )
    more = ("    balance leastconn\n    retries 1\n    option redispatch 1\n"
            "    retry-on conn-failure empty-response response-timeout 500 502 503\n"
            "    timeout queue 1s" if tuned else "")
    return f"""
global
    maxconn 8000
    nbthread 2
defaults
    mode http
    timeout connect {"1s" if tuned else "5s"}
    timeout client 50s
    timeout server {"2s" if tuned and site.has_limits else "50s"}
frontend web
    bind 127.0.0.1:{site.port}
    use_backend other if {{ path_beg /other }}
    default_backend app
backend app
{more}
    option httpchk GET /
{servers}
backend other
    server o {site.other[0]}
"""


def nginx_file(site: Site, tuned: bool) -> str:
    servers = " ".join(
        f"server {endpoint}{' max_fails=5 fail_timeout=10s' if tuned else ''};" for endpoint in site.endpoints
    )
    limit = "proxy_read_timeout 2s;" if site.has_limits else ""
    more = (f"proxy_connect_timeout 1s; {limit} proxy_next_upstream error timeout http_500 http_502 http_503;"
            "proxy_next_upstream_tries 2;" if tuned else "")
    return f"""
user root;
daemon off;
worker_processes 2;
pid {site.folder}/nginx.pid;
error_log /dev/null;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    upstream app {{ zone app 4m; {"least_conn;" if tuned else ""} {servers} keepalive 64; }}
    upstream other {{ server {site.other[0]}; }}
    server {{
        listen 127.0.0.1:{site.port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        {more}
        location / {{ proxy_pass http://app; }}
        location /other {{ proxy_pass http://other; }}
    }}
}}
"""


def envoy_file(site: Site, tuned: bool) -> str:
    def hosts(endpoints):
        return "\n".join(
            "      - endpoint: {address: {socket_address: {address: %s, port_value: %s}}}" % tuple(endpoint.rsplit(":", 1))
            for endpoint in endpoints
        )

    checks = ("health_checks: [{timeout: 1s, interval: 2s, unhealthy_threshold: 3, healthy_threshold: 2, http_health_check: {path: /}}]"
              if site.has_checks else "")
    cluster = """
    lb_policy: LEAST_REQUEST
    outlier_detection: {consecutive_5xx: 5, interval: 1s, base_ejection_time: 30s, max_ejection_percent: 34, split_external_local_origin_errors: false}
    circuit_breakers: {thresholds: [{max_connections: 8000, max_pending_requests: 8000, max_requests: 8000, retry_budget: {budget_percent: {value: 20}, min_retry_concurrency: 10}}]}
    CHECKS
""".replace("CHECKS", checks) if tuned else ""
    limit = " per_try_timeout: 2s," if site.has_limits else ""
    route = ("timeout: 10s, retry_policy: {retry_on: '5xx,reset,connect-failure', num_retries: 1," + limit +
             " retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config:"
             " {'@type': type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}],"
             " host_selection_retry_max_attempts: 3}" if tuned else "timeout: 15s")
    return f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {site.port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /other}}
                route: {{cluster: other}}
              - match: {{prefix: /, headers: [{{name: ":method", string_match: {{exact: GET}}}}]}}
                route: {{cluster: app, {route}}}
              - match: {{prefix: /}}
                route: {{cluster: app, timeout: 10s}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: app
    type: STATIC
    connect_timeout: {"1s" if tuned else "5s"}
{cluster}
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
{hosts(site.endpoints).replace('      -', '        -')}
  - name: other
    type: STATIC
    load_assignment:
      cluster_name: other
      endpoints:
      - lb_endpoints:
{hosts(site.other).replace('      -', '        -')}
"""
