// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/kernels"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCmd) Help() string {
	return `Examples:

  source <(farm completion bash)
  farm completion fish > ~/.config/fish/completions/farm.fish`
}

// verb is one verb as a completion script needs it.
type verb struct {
	Name, Help string
	Verbs      []string // of a verb that has some of its own
	Flags      []verbFlag
}

type verbFlag struct {
	Name, Help string
	Values     []string // words that may follow; empty when they cannot be listed
	Files      bool     // a file or directory follows
}

// valuesOf lists what may follow a flag, taken from where it is defined.
func valuesOf(flag string) []string {
	switch flag {
	case "topology":
		return names(machine.Topologies())
	case "device":
		return names(machine.Devices())
	case "kernel":
		return []string{"debian:7.3", "debian:7.2", "debian:6.12", "tree:", "tarball:"}
	case "config":
		return kernels.Configurations()
	case "suite":
		return append(matrix.ContractSuites(), matrix.KselftestSuites()...)
	case "test":
		return matrix.StatementIDs()
	case "executor":
		return []string{"local", "slurm"}
	}
	return nil
}

func names[T ~string](all []T) []string {
	words := make([]string, len(all))
	for i, one := range all {
		words[i] = string(one)
	}
	return words
}

func verbs(parser *kong.Kong) []verb {
	var list []verb
	for _, node := range parser.Model.Children {
		v := verb{Name: node.Name, Help: node.Help}
		seen := map[string]bool{"help": true}
		for _, n := range append([]*kong.Node{node}, node.Children...) {
			if n != node {
				v.Verbs = append(v.Verbs, n.Name)
			}
			for _, f := range n.Flags {
				if seen[f.Name] {
					continue
				}
				seen[f.Name] = true
				v.Flags = append(v.Flags, verbFlag{
					Name:   f.Name,
					Help:   strings.NewReplacer("'", "", "[", "(", "]", ")", ":", "").Replace(f.Help),
					Values: valuesOf(f.Name),
					Files:  f.PlaceHolder == "DIR",
				})
			}
		}
		list = append(list, v)
	}
	return list
}

var completions = map[string]string{
	"bash": `_farm() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W "{{range .}}{{.Name}} {{end}}--help" -- "$cur"))
		return
	fi
	case ${COMP_WORDS[1]} in
{{- range .}}
	{{.Name}})
		case $prev in
{{- range .Flags}}{{if .Values}}
		--{{.Name}}) words="{{join .Values}}" ;;
{{- end}}{{if .Files}}
		--{{.Name}}) COMPREPLY=($(compgen -d -- "$cur")); return ;;
{{- end}}{{end}}
		*) [[ $cur == -* ]] && words="{{range .Flags}}--{{.Name}} {{end}}--help"
{{- if .Verbs}}
		[ "$COMP_CWORD" -eq 2 ] && words="{{join .Verbs}} $words"
{{- end}} ;;
		esac ;;
{{- end}}
	esac
	if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$cur"))
	else COMPREPLY=($(compgen -f -- "$cur")); fi
}
complete -F _farm farm
`,
	"zsh": `#compdef farm
_farm() {
	if (( CURRENT == 2 )); then
		local -a verbs=({{range .}}'{{.Name}}:{{.Help}}' {{end}})
		_describe verb verbs
		return
	fi
	case $words[2] in
{{- range .}}
	{{.Name}}) _arguments{{if .Verbs}} \
		'2:verb:({{join .Verbs}})'{{end}}{{range .Flags}} \
		'*--{{.Name}}[{{.Help}}]{{if .Values}}:value:({{join .Values}}){{end}}{{if .Files}}:directory:_files -/{{end}}'{{end}} \
		'*:file:_files' ;;
{{- end}}
	esac
}
compdef _farm farm
`,
	"fish": `complete -c farm -f
{{range $v := .}}complete -c farm -n __fish_use_subcommand -a {{.Name}} -d '{{.Help}}'
{{if .Verbs}}complete -c farm -n '__fish_seen_subcommand_from {{.Name}}' -a '{{join .Verbs}}'
{{end}}{{range .Flags}}complete -c farm -n '__fish_seen_subcommand_from {{$v.Name}}' -l {{.Name}} -d '{{.Help}}'{{if .Values}} -x -a '{{join .Values}}'{{end}}{{if .Files}} -r{{end}}
{{end}}{{end}}`,
}

func (c *completionCmd) Run(s *surroundings) error {
	t, err := template.New(c.Shell).
		Funcs(template.FuncMap{"join": func(w []string) string { return strings.Join(w, " ") }}).
		Parse(completions[c.Shell])
	if err != nil {
		return fmt.Errorf("completion for %s: %w", c.Shell, err)
	}
	return t.Execute(s.stdout, verbs(s.parser))
}
