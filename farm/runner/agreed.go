// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"errors"
	"fmt"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
)

// source refuses a source that is not what it was when the run began.
func (p *Plan) source(name, id string) error {
	if p.Sources[name] == id {
		return nil
	}
	return fmt.Errorf("%s has changed since the run began, and its cells would be of two kernels: begin another run", name)
}

// suites refuses test programs that are not those that the run began with. The
// hash is that of [images.Image.Programs].
func (p *Plan) suites(hash string) error {
	if p.Suites == hash {
		return nil
	}
	return errors.New("the test programs have changed since the run began: begin another run")
}

// kernel refuses a build of a source that is not what it was when the run
// began, which may be hours ago. That a kernel cannot be built says nothing
// either, if it is of such a source: now tells what it is at this moment.
func (p *Plan) kernel(source string, b *kernels.Build, failed error, now func() (string, error)) (*kernels.Build, error) {
	var bad *fault.Kernel
	switch {
	case failed == nil:
		if err := p.source(source, b.SourceID); err != nil {
			return nil, err
		}
	case errors.As(failed, &bad):
		id, err := now()
		if err == nil {
			err = p.source(source, id)
		}
		if err != nil {
			return nil, err
		}
	}
	return b, failed
}
