package lint

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// positions are where the objects of a file are.
type positions struct {
	documents []*yaml.Node
}

// positionsOf reads as much of a file as can be read. Lines help people and decide nothing, so what can't be read has none.
func positionsOf(raw []byte) *positions {
	out := &positions{}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		node := &yaml.Node{}
		err := decoder.Decode(node)
		if errors.Is(err, io.EOF) || err != nil {
			return out
		}
		if len(node.Content) == 1 {
			out.add(node.Content[0])
		}
	}
}

// add notes an object, or those of a list.
func (p *positions) add(node *yaml.Node) {
	items := child(node, "items")
	if items == nil || items.Kind != yaml.SequenceNode {
		p.documents = append(p.documents, node)
		return
	}
	for _, item := range items.Content {
		p.add(item)
	}
}

// line is where the field that a message is about is in an object, or what of it there is; 0 where that is not known.
func (p *positions) line(kind, namespace, name, message string) int {
	if p == nil {
		return 0
	}
	for _, node := range p.documents {
		meta := child(node, "metadata")
		if text(child(node, "kind")) != kind || text(child(meta, "name")) != name {
			continue
		}
		if ns := text(child(meta, "namespace")); ns != namespace && (ns != "" || namespace != "default") {
			continue
		}
		return deepest(node, fieldOf(message))
	}
	return 0
}

var fieldPattern = regexp.MustCompile(`\b(?:spec|metadata)(?:\.[A-Za-z]+|\[\d+\])*`)

var partPattern = regexp.MustCompile(`[A-Za-z]+|\d+`)

// fieldOf is the first field that a message names, in its parts, and the word after it: rules of a schema are about an
// object, and begin with the name of its field.
func fieldOf(message string) []string {
	at := fieldPattern.FindStringIndex(message)
	if at == nil {
		return nil
	}
	path := partPattern.FindAllString(message[at[0]:at[1]], -1)
	if word := partPattern.FindString(message[at[1]:]); word != "" {
		path = append(path, word)
	}
	return path
}

// deepest is the line of the last part of a path that is there.
func deepest(node *yaml.Node, path []string) int {
	line := node.Line
	for _, part := range path {
		if node.Kind == yaml.SequenceNode {
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(node.Content) {
				return line
			}
			node = node.Content[i]
			line = node.Line
			continue
		}
		key, value := entry(node, part)
		if key == nil {
			return line
		}
		node, line = value, key.Line
	}
	return line
}

func entry(node *yaml.Node, name string) (key, value *yaml.Node) {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if strings.EqualFold(node.Content[i].Value, name) {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}

func child(node *yaml.Node, name string) *yaml.Node {
	_, value := entry(node, name)
	return value
}

func text(node *yaml.Node) string {
	if node == nil {
		return ""
	}
	return node.Value
}
