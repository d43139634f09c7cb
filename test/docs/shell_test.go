package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// command is one that a page shows.
type command struct {
	page   string
	words  []string // without what stands before the program and with what stands in quotes as one
	inline bool     // in a sentence
}

func (c command) String() string { return strings.Join(c.words, " ") }

var (
	shellBlock = regexp.MustCompile("(?ms)^( *)```(sh|bash|console)\n(.*?)^ *```")
	indented   = regexp.MustCompile(`(?m)^    +((?:[A-Z]+=\S+ )*(?:kubectl|helm|make|sluice|go|bin/\S+|git) .*)$`)
	span       = regexp.MustCompile("`((?:kubectl|helm|make|sluice|go test|go run) [^`\n]*)`")
	continued  = regexp.MustCompile(`\\\n +`)
	heredoc    = regexp.MustCompile(`<<'?([A-Z]+)'?`)
)

// commandsIn are those of a page: of its blocks of shell, of indented ones, and in its text.
func commandsIn(page, text string) []command {
	var out []command
	add := func(script string, inline bool) {
		for _, words := range split(script) {
			out = append(out, command{page, words, inline})
		}
	}
	for _, match := range shellBlock.FindAllStringSubmatch(text, -1) {
		add(script(strings.ReplaceAll("\n"+match[3], "\n"+match[1], "\n"), match[2] == "console"), false)
	}
	rest := continued.ReplaceAllString(fence.ReplaceAllString(text, ""), " ")
	for _, match := range indented.FindAllStringSubmatch(rest, -1) {
		add(match[1], false)
	}
	for _, match := range span.FindAllStringSubmatch(rest, -1) {
		add(match[1], true)
	}
	return out
}

// script are the lines of a block that are typed: of a session those after a prompt, and no documents that are piped.
func script(block string, session bool) string {
	var out []string
	end := ""
	block = strings.ReplaceAll(block, "\\\n", " ")
	for line := range strings.SplitSeq(block, "\n") {
		if session {
			typed, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			line = typed
		}
		switch {
		case end != "":
			if strings.TrimSpace(line) == end {
				end = ""
			}
			continue
		case strings.Contains(line, "() {"): // a function that the lines below it call
			continue
		}
		if m := heredoc.FindStringSubmatch(line); m != nil {
			end = m[1]
			line = heredoc.ReplaceAllString(line, "")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// split gives the commands of a script, each as its words. It knows quotes, comments, pipes, lists, redirections,
// variables before a command, and commands within others, and no more of a shell's language.
func split(script string) [][]string {
	var out [][]string
	var words []string
	flush := func() {
		for len(words) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 {
			out = append(out, words)
		}
		words = nil
	}
	for rest := script; rest != ""; {
		switch {
		case rest[0] == '\n' || rest[0] == ';' || rest[0] == '|' || strings.HasPrefix(rest, "&&"):
			flush()
			rest = strings.TrimLeft(rest[1:], "|&")
		case rest[0] == ' ':
			rest = rest[1:]
		case rest[0] == '#':
			_, after, _ := strings.Cut(rest, "\n")
			flush()
			rest = after
		default:
			var w string
			var inner []string
			w, inner, rest = word(rest)
			for _, script := range inner {
				out = append(out, split(script)...)
			}
			words = append(words, w)
		}
	}
	flush()
	return slices.DeleteFunc(out, func(words []string) bool { return words[0] == "" })
}

// word is the first of a script, with the scripts in its $(...), and what is left.
func word(script string) (w string, inner []string, rest string) {
	var out strings.Builder
	for i := 0; i < len(script); i++ {
		switch c := script[i]; {
		case c == '\'':
			end := strings.IndexByte(script[i+1:], '\'')
			if end < 0 {
				return out.String(), inner, ""
			}
			out.WriteString(script[i+1 : i+1+end])
			i += end + 1
		case strings.HasPrefix(script[i:], "$("):
			end := closing(script[i+2:])
			inner = append(inner, script[i+2:i+2+end])
			out.WriteString("x") // what it prints
			i += end + 2
		case c == '"':
			for i++; i < len(script) && script[i] != '"'; i++ {
				if strings.HasPrefix(script[i:], "$(") {
					end := closing(script[i+2:])
					inner = append(inner, script[i+2:i+2+end])
					out.WriteString("x")
					i += end + 2
					continue
				}
				out.WriteByte(script[i])
			}
		case c == ' ' || c == '\n' || c == ';' || c == '|':
			return out.String(), inner, script[i:]
		default:
			out.WriteByte(c)
		}
	}
	return out.String(), inner, ""
}

// closing is where the bracket closes that was opened before a script.
func closing(script string) int {
	depth := 1
	for i := range len(script) {
		switch script[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(script)
}

func TestCommandsIn(t *testing.T) {
	page := "Type `make demo`, then:\n\n    kubectl get pods # all\n\n```sh\nA=1 helm x \\\n  --set a='b c' | kubectl apply -f - && echo \"$(date +%s)\"\ncat <<END\nkubectl nothing\nEND\n```\n\n```console\n$ kubectl x\nkubectl y\n```\n"
	var got []string
	for _, c := range commandsIn("page", page) {
		got = append(got, strings.Join(c.words, "|"))
	}
	want := []string{"helm|x|--set|a=b c", "kubectl|apply|-f|-", "date|+%s", "echo|x", "cat", "kubectl|x", "kubectl|get|pods", "make|demo"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}
