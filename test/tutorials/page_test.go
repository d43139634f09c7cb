package tutorials

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// step is something that a page has its reader do.
type step struct {
	// heading is that of the section.
	heading string
	// save is the name of a file that the reader saves text as; empty where there is nothing to save.
	save string
	// apply is whether the reader applies text, which is a manifest, without a command for it.
	apply bool
	text  string
	// command is what the reader types, and shown are the lines that the page says come of it; none where it shows none.
	command string
	shown   []string
	// status is the exit status that the page shows behind the command by "echo $?", 0 where it shows none.
	status int
	// skipped is why a command isn't typed by the test.
	skipped string
}

var (
	block     = regexp.MustCompile("^```([a-z]*)$")
	saveThis  = regexp.MustCompile("[Ss]ave this as `([a-z.]+)`")
	saveIt    = regexp.MustCompile("Save it as `([a-z.]+)`")
	notRun    = regexp.MustCompile(`^<!-- not run: (.+) -->$`)
	continued = regexp.MustCompile(` *\\\n\s*`)
)

// steps are those of a page, in its order. A comment "<!-- not run: WHY -->" before a block says that the test does not type
// its commands; before the first section it is for the whole page. Whole manifests of a section "The Canary", and what is in the
// place of the application, are applied.
func steps(page string) []step {
	var out []step
	heading, pageSkipped, skipped, saveNext, lastManifest := "", "", "", "", -1
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if m := notRun.FindStringSubmatch(line); m != nil {
			if skipped = m[1]; heading == "" {
				pageSkipped = m[1]
			}
			continue
		}
		if title, ok := strings.CutPrefix(line, "## "); ok {
			heading, skipped = title, ""
			continue
		}
		if m := saveThis.FindStringSubmatch(line); m != nil {
			saveNext = m[1]
		}
		if m := saveIt.FindStringSubmatch(line); m != nil && lastManifest >= 0 {
			out[lastManifest].save, out[lastManifest].apply = m[1], false
		}
		m := block.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		end := i + 1 + slices.Index(lines[i+1:], "```")
		text := strings.Join(lines[i+1:end], "\n") + "\n"
		i = end
		why := pageSkipped
		if why == "" {
			why = skipped
		}
		switch m[1] {
		case "yaml":
			whole := strings.HasPrefix(text, "apiVersion:")
			out = append(out, step{heading: heading, save: saveNext, apply: saveNext == "" && whole && heading == "The Canary", text: text, skipped: why})
			lastManifest = len(out) - 1
			saveNext = ""
		case "sh":
			for command := range strings.SplitSeq(strings.TrimSpace(continued.ReplaceAllString(text, " ")), "\n") {
				out = append(out, step{heading: heading, command: command, skipped: why})
			}
		case "console":
			for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
				if typed, ok := strings.CutPrefix(line, "$ "); ok {
					out = append(out, step{heading: heading, command: typed, skipped: why})
				} else {
					last := &out[len(out)-1]
					last.shown = append(last.shown, line)
					if status, err := strconv.Atoi(line); err == nil && last.command == "echo $?" {
						out[len(out)-2].status = status
					}
				}
			}
		}
		skipped = ""
	}
	return out
}

// under are the steps of a section.
func under(heading string, all []step) []step {
	var out []step
	for _, s := range all {
		if s.heading == heading {
			out = append(out, s)
		}
	}
	return out
}

var (
	spaces = regexp.MustCompile(`\s+`)
	age    = regexp.MustCompile(`\b(\d+d)?(\d+h)?(\d+m)?\d+[smhd]\b`)
)

// plain is a line without what differs from one time to the next: widths of columns, and how old something is.
func plain(line string) string {
	return strings.TrimSpace(age.ReplaceAllString(spaces.ReplaceAllString(line, " "), "AGE"))
}

// differs says where the lines that a command wrote are not those that a page shows. A line "..." stands for any number of lines.
func differs(shown []string, wrote string) error {
	got := strings.Split(strings.TrimSpace(wrote), "\n")
	at := 0
	for i, want := range shown {
		if want == "..." {
			if i == len(shown)-1 {
				return nil
			}
			next := plain(shown[i+1])
			skip := slices.IndexFunc(got[at:], func(line string) bool { return plain(line) == next })
			if skip < 0 {
				return fmt.Errorf("no line is %q", shown[i+1])
			}
			at += skip
			continue
		}
		if at >= len(got) {
			return fmt.Errorf("it ends before %q", want)
		}
		if plain(got[at]) != plain(want) {
			return fmt.Errorf("a line is %q, the page shows %q", got[at], want)
		}
		at++
	}
	if at < len(got) {
		return fmt.Errorf("there is a line more: %q", got[at])
	}
	return nil
}

func TestSteps(t *testing.T) {
	page := "# Title\n\n## The application\n\n```yaml\na: 1\n```\n\nSave it as `a.yaml`. Save this as `b.yaml`:\n\n```yaml\nb: 1\n```\n\n```sh\none \\\n  more\ntwo   # why\n```\n\n" +
		"<!-- not run: it is elsewhere -->\n\n```sh\nthree\n```\n\n## The Canary\n\n```yaml\nspec: {}\n```\n\n```yaml\napiVersion: x\n```\n\n```console\n$ four\nsays 4\n\n$ five\n$ echo $?\n2\n```\n"
	want := []step{
		{heading: "The application", save: "a.yaml", text: "a: 1\n"},
		{heading: "The application", save: "b.yaml", text: "b: 1\n"},
		{heading: "The application", command: "one more"},
		{heading: "The application", command: "two   # why"},
		{heading: "The application", command: "three", skipped: "it is elsewhere"},
		{heading: "The Canary", text: "spec: {}\n"},
		{heading: "The Canary", text: "apiVersion: x\n", apply: true},
		{heading: "The Canary", command: "four", shown: []string{"says 4", ""}},
		{heading: "The Canary", command: "five", status: 2},
		{heading: "The Canary", command: "echo $?", shown: []string{"2"}},
	}
	if got := steps(page); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	for _, s := range steps("# Title\n\n<!-- not run: no server -->\n\n" + page) {
		if s.skipped == "" {
			t.Errorf("%+v is run", s)
		}
	}
}

func TestDiffers(t *testing.T) {
	for _, tc := range []struct {
		shown string
		wrote string
		good  bool
	}{
		{"NAME   AGE\nx      3m", "NAME  AGE\nx     1h2m\n", true},
		{"x 3m", "y 3m", false},
		{"x", "x\ny", false},
		{"x\ny", "x", false},
		{"x\n...", "x\ny\nz", true},
		{"x\n...\nz", "x\ny\nz", true},
		{"x\n...\nz", "x\ny", false},
		{"0/1", "1/1", false},
	} {
		if err := differs(strings.Split(tc.shown, "\n"), tc.wrote); (err == nil) != tc.good {
			t.Errorf("%q, %q: %v", tc.shown, tc.wrote, err)
		}
	}
}
