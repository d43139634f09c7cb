package template

import (
	"strings"
	"testing"
)

// TestQuoting writes values of a tenant into queries of somebody else: they are escaped, or refused, or stay what they are.
func TestQuoting(t *testing.T) {
	const refused = "" // a query that is not made
	for name, tc := range map[string]struct {
		provider, query, value, want string
		// anything allows values to be expressions outside of quotes.
		anything bool
	}{
		"PromQL, in quotes":                    {"prometheus", `x{a="{{ variables.v }}"}`, `b"} or vector(1) #`, `x{a="b\"} or vector(1) #"}`, false},
		"PromQL, in single quotes":             {"prometheus", `x{a='{{ variables.v }}'}`, `b' \`, `x{a='b\' \\'}`, false},
		"PromQL, backslash at the end":         {"prometheus", `x{a="{{ variables.v }}",b="c"}`, `b\`, `x{a="b\\",b="c"}`, false},
		"PromQL, in raw quotes":                {"prometheus", "x{a=~`{{ variables.v }}`}", "b`} or up{a=`", refused, false},
		"PromQL, a regex":                      {"prometheus", `x{a=~"{{ variables.v }}"}`, `5..|\\d+`, `x{a=~"5..|\\d+"}`, false},
		"PromQL, escaped by its user":          {"prometheus", `x{a="{{ variables.v }}"}`, `say \"hi\"`, `x{a="say \"hi\""}`, false},
		"PromQL, a comment with a quote":       {"prometheus", "# don't\nx + {{ variables.v }}", "vector(1)", refused, false},
		"PromQL, in a comment":                 {"prometheus", "# {{ variables.v }}\nup", "a\nor vector(1)", refused, false},
		"PromQL, an expression":                {"prometheus", `{{ variables.v }} > 0`, "vector(1) or up", refused, false},
		"PromQL, an expression of its own":     {"prometheus", `{{ variables.v }} > 0`, "vector(1) or up", "vector(1) or up > 0", true},
		"PromQL, in quotes, of its own":        {"prometheus", `x{a="{{ variables.v }}"}`, `b"} or up{a="c`, `x{a="b\"} or up{a=\"c"}`, true},
		"PromQL, a name":                       {"prometheus", `rate({{ variables.v }}[1m])`, "http_requests:total", "rate(http_requests:total[1m])", false},
		"PromQL, a name, assigned":             {"prometheus", `{{ $m := variables.v }}rate({{ $m }}[1m])`, "a) or (b", refused, false},
		"PromQL, a name by with":               {"prometheus", `{{ with variables.v }}{{ . }}{{ end }}`, "a or b", refused, false},
		"PromQL, all of them":                  {"prometheus", `x{ {{ range $k, $v := variables }}{{ $k }}="{{ $v }}",{{ end }} }`, `b"} or up{a="c`, `x{ v="b\"} or up{a=\"c", }`, false},
		"PromQL, by print":                     {"prometheus", `{{ print variables.v "" }}`, "a or b", refused, false},
		"PromQL, by printf":                    {"prometheus", `x{a={{ printf "%q" variables.v }}}`, `b"} or up`, `x{a="b\"} or up"}`, false},
		"PromQL, by printf without quotes":     {"prometheus", `x{a={{ printf "\"%s\"" variables.v }}}`, `b"} or up{a="c`, refused, false},
		"PromQL, a condition":                  {"prometheus", `{{ if eq variables.v "a b" }}up{{ else }}down{{ end }}`, "a b", "up", false},
		"PromQL, part of a text":               {"prometheus", `x{a="{{ slice variables.v 0 2 }}"}`, `b"} or up`, `x{a="b\""}`, false},
		"JSON":                                 {"cloudwatch", `[{"Value": "{{ variables.v }}"}]`, "a\", \"Expression\": \"1\n", `[{"Value": "a\", \"Expression\": \"1\n"}]`, false},
		"JSON, a number":                       {"cloudwatch", `[{"Period": {{ variables.v }}}]`, "60", `[{"Period": 60}]`, false},
		"JSON, more than a number":             {"cloudwatch", `[{"Period": {{ variables.v }}}]`, `60, "Stat": "Sum"`, refused, false},
		"Flux":                                 {"influxdb", `from(bucket: "{{ variables.v }}") |> mean()`, `a") |> to(bucket: "b`, `from(bucket: "a\") |> to(bucket: \"b") |> mean()`, false},
		"Flux, interpolated":                   {"influxdb", `from(bucket: "{{ variables.v }}") |> mean()`, `${die(msg: 1)}`, `from(bucket: "\${die(msg: 1)}") |> mean()`, false},
		"Flux, half interpolated":              {"influxdb", `from(bucket: "{{ variables.v }}{x}") |> mean()`, `a$`, refused, false},
		"Flux, the other half":                 {"influxdb", `from(bucket: "${{ variables.v }}") |> mean()`, `{x}`, refused, false},
		"Flux, behind an interpolation":        {"influxdb", `from(bucket: "${x["a"]}{{ variables.v }}") |> mean()`, `b"c`, `from(bucket: "${x["a"]}b\"c") |> mean()`, false},
		"Flux, in a regex":                     {"influxdb", `from(bucket: "a") |> filter(fn: (r) => r.a =~ /"{{ variables.v }}/)`, `/ or r.b == "x`, refused, false},
		"Flux, behind a regex":                 {"influxdb", `from(bucket: "a") |> filter(fn: (r) => r.a =~ /"/ and r.b == {{ variables.v }})`, `r.b or true`, refused, false},
		"Flux, behind a division":              {"influxdb", `from(bucket: "a") |> map(fn: (r) => r.a / r.b + "/{{ variables.v }}")`, `"+r.c`, `from(bucket: "a") |> map(fn: (r) => r.a / r.b + "/\"+r.c")`, false},
		"InfluxQL":                             {"influxdb", `SELECT mean("a") FROM "b" WHERE c = '{{ variables.v }}'`, `x' OR '1'='1`, `SELECT mean("a") FROM "b" WHERE c = 'x\' OR \'1\'=\'1'`, false},
		"InfluxQL, a name in quotes":           {"influxdb", `SELECT mean("{{ variables.v }}") FROM "b"`, `a"), max("b`, `SELECT mean("a\"), max(\"b") FROM "b"`, false},
		"InfluxQL, a comment":                  {"influxdb", `SELECT a FROM b WHERE c = {{ variables.v }} AND d = 1`, `--`, refused, false},
		"InfluxQL, a regex":                    {"influxdb", `SELECT a FROM /'/ WHERE c = {{ variables.v }}`, `1 OR 1`, refused, false},
		"InfluxQL, a comment over lines":       {"influxdb", `SELECT a /* ' */ FROM b WHERE c = {{ variables.v }}`, `1 OR 1`, refused, false},
		"NRQL":                                 {"newrelic", `SELECT count(*) FROM T WHERE a = '{{ variables.v }}'`, `b' OR '1' = '1`, refused, false},
		"NRQL, escaped by its user":            {"newrelic", `SELECT count(*) FROM T WHERE a = '{{ variables.v }}'`, `b\' OR 1`, refused, false},
		"NRQL, another quote":                  {"newrelic", `SELECT count(*) FROM T WHERE a = '{{ variables.v }}'`, `say "b"`, `SELECT count(*) FROM T WHERE a = 'say "b"'`, false},
		"NRQL, backslash":                      {"newrelic", `SELECT count(*) FROM T WHERE a = '{{ variables.v }}' AND b = 'c'`, `b\`, refused, false},
		"GraphQL":                              {"skywalking", `query { a(name: "{{ variables.v }}") }`, `b") c(name: "d`, `query { a(name: "b\") c(name: \"d") }`, false},
		"GraphQL, a block":                     {"skywalking", `query { a(name: """{{ variables.v }}""") }`, `b""" c`, `query { a(name: """b\"\"\" c""") }`, false},
		"SignalFlow":                           {"splunk", `data('a', filter=filter('b', '{{ variables.v }}'))`, `c') or filter('d', 'e`, refused, false},
		"MQL":                                  {"stackdriver", `fetch a | filter b == '{{ variables.v }}'`, `c' || '' == '`, refused, false},
		"Datadog":                              {"datadog", `sum:requests{service:{{ variables.v }}}`, `a,!env:prod`, refused, false},
		"Datadog, a tag":                       {"datadog", `sum:requests{service:{{ variables.v }}}`, `web-1.a`, `sum:requests{service:web-1.a}`, false},
		"Dynatrace":                            {"dynatrace", `m:filter(eq(a,"{{ variables.v }}"))`, `b")),~`, `m:filter(eq(a,"b~")),~~"))`, false},
		"Graphite":                             {"graphite", `sumSeries(stats.{{ variables.v }}.count)`, `*`, refused, false},
		"Graphite, in quotes":                  {"graphite", `alias(a, '{{ variables.v }}')`, `b'), c`, refused, false},
		"Graphite, parameters":                 {"graphite", `target=alias(a,'{{ variables.v }}')&from=-5min`, `b&target=c`, refused, false},
		"Graphite, parameters, escaped":        {"graphite", `target=alias(a,'{{ variables.v }}')&from=-5min`, `b%27`, refused, false},
		"Keptn":                                {"keptn", `analysis/shop/slo/5m/service={{ variables.v }};stage=production`, `a;stage=dev`, refused, false},
		"Keptn, a path":                        {"keptn", `keptnmetric/shop/{{ variables.v }}`, `..`, refused, false},
		"external metrics":                     {"externalmetrics", `shop/depth?labelSelector=app%3D{{ variables.v }}`, `a%2Cb`, refused, false},
		"a URL":                                {"web", `/api?query={{ variables.v }}`, `a&b=c`, refused, false},
		"a URL, escaped":                       {"web", `/api?query={{ variables.v | urlquery }}`, `a&b=c`, `/api?query=a%26b%3Dc`, false},
		"a URL, its path":                      {"web", `/api/{{ variables.v }}/x`, `%2e%2e`, refused, false},
		"a provider that nobody knows":         {"new", `x{a="{{ variables.v }}"}`, `b"`, refused, false},
		"a provider that nobody knows, a name": {"new", `x{a="{{ variables.v }}"}`, `b`, `x{a="b"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := Parse(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parsed.Render(Vars{Variables: map[string]string{"v": tc.value}, Quoting: &Quoting{Provider: tc.provider, OnlyPlain: !tc.anything}})
			if err != nil && (tc.want != refused || !Is(err) || !strings.Contains(err.Error(), "its value ")) {
				t.Errorf("error %v", err)
			}
			if got != tc.want {
				t.Errorf("the query is %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestRawVariables has values become what they are where whoever writes them may write the query, too.
func TestRawVariables(t *testing.T) {
	parsed, err := Parse(`x{a="{{ variables.v }}"} {{ variables.v }}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parsed.Render(Vars{Variables: map[string]string{"v": `b",c="d`}})
	if want := `x{a="b",c="d"} b",c="d`; err != nil || got != want {
		t.Errorf("the query is %s, error %v, want %s", got, err, want)
	}
}
