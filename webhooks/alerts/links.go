package alerts

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// LinkTemplates make the links of messages. It is a flag.Value that takes NAME=TEMPLATE and may be given often.
type LinkTemplates []LinkTemplate

// LinkTemplate makes one link.
type LinkTemplate struct {
	name, source string
	template     *template.Template
}

// linkData is what a template may use. Every value can stand in a path and in a query as it is.
type linkData struct {
	Namespace, Name, Cluster, Target, Kind, Revision, Phase, Reason, Severity string
	// Started and Time are milliseconds since 1970; Started is empty where it is not known.
	Started, Time string
}

// ParseLink parses NAME=TEMPLATE, where TEMPLATE is a Go template of an http or https URL with the values
// {{ .Namespace }} {{ .Name }} {{ .Cluster }} {{ .Target }} {{ .Kind }} {{ .Revision }} {{ .Phase }} {{ .Reason }}
// {{ .Severity }} {{ .Started }} {{ .Time }}. A mistake in it is an error that names the link.
func ParseLink(s string) (LinkTemplate, error) {
	name, source, found := strings.Cut(s, "=")
	name = strings.TrimSpace(name)
	if !found || name == "" || source == "" {
		return LinkTemplate{}, fmt.Errorf("link %q: allowed: NAME=TEMPLATE", s)
	}
	t, err := template.New(name).Option("missingkey=error").Parse(source)
	if err != nil {
		return LinkTemplate{}, fmt.Errorf("link %q: %w", name, err)
	}
	out := LinkTemplate{name: name, source: source, template: t}
	// A value that is not there, and a template that is no URL, show now and not with the first release.
	at := time.Unix(1, 0)
	if _, err := out.render(Alert{Namespace: "a", Name: "a", Cluster: "a", TargetName: "a", TargetKind: "a", Started: at, Time: at}); err != nil {
		return LinkTemplate{}, err
	}
	return out, nil
}

func (l LinkTemplate) render(a Alert) (Link, error) {
	data := linkData{
		Namespace: escape(a.Namespace), Name: escape(a.Name), Cluster: escape(a.Cluster), Target: escape(a.TargetName),
		Kind: escape(a.TargetKind), Revision: escape(a.Revision), Phase: escape(string(a.Phase)), Reason: escape(a.Reason),
		Severity: escape(string(a.Severity)), Started: millis(a.Started), Time: millis(a.Time),
	}
	var b strings.Builder
	if err := l.template.Execute(&b, data); err != nil {
		return Link{}, fmt.Errorf("link %q: %w", l.name, err)
	}
	u, err := url.Parse(b.String())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Link{}, fmt.Errorf("link %q: it does not give a URL such as https://HOST/PATH", l.name)
	}
	return Link{Name: l.name, URL: u.String()}, nil
}

// escape makes a value safe in a path and in a query.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func millis(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

// Render gives the links of an alert. One that comes to no URL with its values is left out.
func (l LinkTemplates) Render(a Alert) []Link {
	var out []Link
	for _, t := range l {
		if link, err := t.render(a); err == nil {
			out = append(out, link)
		}
	}
	return out
}

// String is part of flag.Value.
func (l *LinkTemplates) String() string {
	out := make([]string, len(*l))
	for i, t := range *l {
		out[i] = t.name + "=" + t.source
	}
	return strings.Join(out, " ")
}

// Set is part of flag.Value.
func (l *LinkTemplates) Set(s string) error {
	t, err := ParseLink(s)
	if err != nil {
		return err
	}
	*l = append(*l, t)
	return nil
}
