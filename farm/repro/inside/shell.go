// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

const prompt = "guest# "

// shell reads commands from the terminal until its end. args are lines to greet
// with.
func shell(args []string) error {
	stdout, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3) // for the KTAP afterwards
	if err != nil {
		return err
	}
	defer unix.Dup2(stdout, 1)
	if err := takeTerminal(); err != nil {
		return err
	}
	e := newEditor()
	if err := followWindow(e.resize); err != nil {
		return err
	}
	for _, line := range args {
		fmt.Fprintf(os.Stdout, "%s\r\n", line)
	}
	// A command is what Ctrl-C is for, not the shell. Caught signals are as
	// they were in a child; ignored ones would stay ignored.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, unix.SIGINT)
	signal.Notify(make(chan os.Signal, 1), unix.SIGQUIT)
	signal.Ignore(unix.SIGTSTP) // nobody could continue it

	runner, err := interp.New(interp.Interactive(true), interp.Dir("/"), interp.StdIO(os.Stdin, os.Stdout, os.Stderr))
	if err != nil {
		return err
	}
	parser := syntax.NewParser()
	for !runner.Exited() {
		e.more = false
		err := parser.Interactive(e, func(statements []*syntax.Stmt) bool {
			if e.more = parser.Incomplete(); e.more {
				return true
			}
			// What was pressed before this line is nothing of it.
			select {
			case <-interrupts:
			default:
			}
			for _, s := range statements {
				if !carryOut(runner, s, interrupts) {
					break
				}
			}
			return !runner.Exited()
		})
		switch {
		case e.ended:
			return nil
		case err != nil:
			fmt.Fprintln(os.Stderr, err) // a mistake in the line; go on with the next
		}
	}
	return nil
}

// interrupted is the status of a program that SIGINT ended.
const interrupted = 128 + uint8(unix.SIGINT)

// carryOut runs one statement, which Ctrl-C ends. It says whether the next one
// is to be run.
func carryOut(runner *interp.Runner, s *syntax.Stmt, interrupts <-chan os.Signal) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case <-interrupts:
			cancel()
		case <-over:
		}
	})
	err := runner.Run(ctx, s)
	if status, _ := interp.IsExitStatus(err); status == interrupted {
		// Its end may be here before the signal that was for the shell too, which must
		// not be left for the next command.
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			cancel()
		}
	}
	close(over)
	wait.Wait()
	if _, exited := interp.IsExitStatus(err); err != nil && !exited && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return ctx.Err() == nil && !runner.Exited()
}

// editor reads lines with history and editing. The terminal is raw only while a
// line is edited; a command finds it as every command does.
type editor struct {
	terminal *term.Terminal
	more     bool // the line goes on with the next
	ended    bool // there are no more lines
	rest     []byte
}

func newEditor() *editor {
	e := &editor{terminal: term.NewTerminal(keyboard{}, prompt)}
	e.terminal.AutoCompleteCallback = complete
	return e
}

func (e *editor) resize(columns, rows int) { e.terminal.SetSize(columns, rows) }

// Read gives the next line to the parser.
func (e *editor) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		line, err := e.line()
		if err != nil {
			e.ended = true
			return 0, err
		}
		e.rest = []byte(line + "\n")
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (e *editor) line() (string, error) {
	state, err := term.MakeRaw(0)
	if err != nil {
		return "", err
	}
	defer term.Restore(0, state)
	e.terminal.SetPrompt(prompt)
	if e.more {
		e.terminal.SetPrompt("> ")
	}
	return e.terminal.ReadLine()
}

// keyboard is the terminal as the line editor sees it. To the editor Ctrl-C is
// the end of everything; here it gives up the line.
type keyboard struct{}

const (
	controlC = 0x03
	controlU = 0x15 // erases the line
)

func (keyboard) Read(p []byte) (int, error) {
	// Room for every byte to become two.
	n, err := os.Stdin.Read(p[:max(1, len(p)/2)])
	if n == 0 && err == nil {
		err = io.EOF
	}
	return giveUpLine(p, n), err
}

func (keyboard) Write(p []byte) (int, error) { return os.Stdout.Write(p) }

// giveUpLine turns each Ctrl-C of the first n bytes of p into what erases the
// line and ends it, and returns how many bytes there are now.
func giveUpLine(p []byte, n int) int {
	typed := append([]byte(nil), p[:n]...)
	n = 0
	for _, b := range typed {
		if b == controlC && n+1 < len(p) {
			p[n] = controlU
			n++
			b = '\r'
		}
		p[n] = b
		n++
	}
	return n
}
