// SPDX-License-Identifier: Apache-2.0

package console

import "regexp"

// guilty is the innermost function of a report that is not there for every
// bug of its kind: the one a maintainer looks at first.
func guilty(r *report) string {
	skip := func(f frame) bool { return generic.MatchString(f.function) }
	for i, f := range r.frames {
		if i == 0 && r.rule.flags&stackOnly != 0 && f.stack == 0 && !f.pc {
			continue
		}
		if !skip(f) {
			return f.function
		}
	}
	return ""
}

// generic are the functions that are found in many bugs and are guilty of none.
var generic = regexp.MustCompile(`^(?:` + `dump_stack\w*|show_\w+|__?dump_stack|print_\w+|warn_slowpath\w*|__warn\w*|report_bug|panic|vpanic|check_panic_on_warn|` +
	`k[am]san_\w+|__k[am]san_\w+|__asan_\w+|__hwasan_\w+|__msan_\w+|kcsan_\w+|__tsan_\w+|kfence_\w+|check_memory_region\w*|` +
	`ubsan_\w+|__ubsan_\w+|` +
	`refcount_\w+|__refcount_\w+|` +
	`_?_?raw_\w*(?:spin|read|write)_\w*lock\w*|(?:spin|read|write)_\w*lock\w*|do_raw_\w+|` +
	`lock_acquire\w*|__lock_\w+|lock_release|lockdep_\w+|mutex_\w+|__mutex_\w+|` +
	`mem(?:cpy|set|move|cmp)\w*|__mem\w+|str(?:len|cpy|ncpy|cmp|nlen)\w*|` +
	`kfree\w*|kmalloc\w*|__kmalloc\w*|kmem_cache_\w+|slab_\w+|` +
	`__list_(?:add|del)\w*|list_(?:add|del)\w*|` +
	`___?might_sleep|__might_\w+|__schedule\w*|schedule\w*|` +
	`debug_\w+|exc_\w+|asm_exc_\w+|handle_bug|do_error_trap|do_invalid_op|invalid_op|page_fault|do_page_fault|__do_page_fault|no_context|die|__die\w*|oops_end` +
	`)$`)
