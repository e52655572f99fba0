// SPDX-License-Identifier: Apache-2.0

package guests

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"noiommu-farm/farm/runner/agent"
)

// The end of a program on the console is found in any pieces of it.
func TestMarks(t *testing.T) {
	m := newMarks()
	for _, line := range []string{"[ 1.0] noiommu-farm: end 2\r", "[ 1.0] noiommu-farm: end x", "noiommu-farm: test end 7"} {
		m.line(line, 0)
	}
	if err := m.await(t.Context(), 2, time.Minute); err != nil {
		t.Error(err)
	}
	m.over()
	var lost *agent.LostError
	if err := m.await(t.Context(), 7, time.Minute); !errors.As(err, &lost) {
		t.Errorf("a console that ended: %v", err)
	}
	if err := newMarks().await(t.Context(), 7, time.Nanosecond); err == nil || !strings.Contains(err.Error(), fmt.Sprint("program ", 7)) {
		t.Errorf("a console that says nothing: %v", err)
	}
}
