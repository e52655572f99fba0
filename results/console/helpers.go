// SPDX-License-Identifier: Apache-2.0

package console

import (
	"regexp"
	"strings"
)

// The kernel's helpers, by what they are for. A pattern stands for a family,
// since names come and go between releases; "_?_?" is for the inner variants.

// set matches functions whose whole name one of the patterns matches. The
// patterns are parted by white space.
func set(patterns string) *regexp.Regexp {
	return regexp.MustCompile(`^(?:` + strings.Join(strings.Fields(patterns), "|") + `)$`)
}

var (
	// Ways into the kernel and the layers that only dispatch.
	entry = set(`
		entry_\w+ full_proxy_\w+ do_syscall_\w+ do_fast_syscall\w* do_int80\w* syscall_\w+ sysenter\w*
		ia32_\w+ __do_fast_syscall\w* el0_\w+ el0t_\w+ _?_?invoke_syscall do_el0_svc\w* ret_\w+
		_?_?ret_from_\w+ system_call\w* handle_syscall x64_sys_call ia32_sys_call
		prepare_exit_to_usermode exit_to_user\w* do_notify_resume work_pending task_work_run ____fput
		__fput\w* fput\w* filp_close delayed_fput close_files put_files_struct exit_files do_exit
		do_group_exit get_signal do_signal arch_do_signal\w* do_acct_process acct_process acct_collect
		vfs_\w+ __vfs_\w+ __kernel_(?:read|write) kernel_(?:read|write) ksys_\w+ do_vfs_ioctl
		(?:compat_)?do_(?:readv|writev|iter|loop|pread|pwrite|preadv|pwritev|readv_writev)\w*
		new_sync_\w+ call_(?:read|write)_iter do_splice\w* splice_\w+ iter_file_splice_write do_sendfile
		__sys_\w+ ___sys_\w+ ____sys_\w+
		sock_(?:sendmsg|recvmsg|write_iter|read_iter|close|ioctl|do_ioctl)\w*
		__sock_(?:sendmsg|release)\w* sock_common_\w+ do_sock_\w+ sock_release compat_ptr_ioctl
		(?:do_)?compat_(?:readv|writev|read|write|ioctl)\w* \w+_compat_ioctl compat_blkdev_ioctl
		blkdev_ioctl tun_rx_batched kthread\w* worker_thread process_one_work process_scheduled_works
		rescuer_thread smpboot_thread_fn kernel_thread\w* call_timer_fn _?_?run_timers?\w* expire_timers
		__hrtimer_run_queues __run_hrtimer hrtimer_\w+ tasklet_\w+
		rcu_(?:do_batch|core\w*|process_callbacks) __rcu_process_callbacks __netif_receive_skb\w*
		netif_receive_skb\w* process_backlog net_rx_action net_tx_action napi_\w+ __napi_\w+ gro_\w+
		dev_gro_receive tun_(?:get_user|chr_write_iter|build_skb) handle_mm_fault __handle_mm_fault
		handle_pte_fault do_(?:read|cow|shared)_fault __do_fault do_fault\w* do_user_addr_fault
		do_mem_abort do_(?:page|translation)_fault __do_page_fault mmap_region __mmap_region do_mmap\w*
		vm_mmap_pgoff start_\w+ secondary_startup\w* x86_64_start_\w+ syscall_return_slowpath`)

	// System calls that say less than what they call.
	dispatcher = set(`
		sys_(?:compat_)?(?:ioctl|read|write|pread64|pwrite64|readv|writev|preadv2?|pwritev2?|sendfile\w*|splice|tee|vmsplice|close\w*|exit\w*|sendmsg|sendto|send|recvmsg|recvfrom|setsockopt|getsockopt|socketcall|connect|mmap\w*|rt_sigreturn|fsync|fallocate)`)

	// The netlink path: the message's handler says more.
	netlink = set(`_?_?netlink_\w+ rtnetlink_rcv\w* genl_\w+ nfnetlink_rcv\w* genl_rcv`)

	// The interrupt that noticed the stall.
	ticking = set(`
		rcu_(?:sched_clock_irq|check_callbacks|pending|dump_cpu_stacks) update_process_times
		tick_(?:sched|nohz)_\w+ tick_handle_periodic watchdog_timer_fn nmi_\w+
		(?:__)?(?:smp_)?(?:local_)?apic_timer_interrupt arch_timer_handler_\w+ hrtimer_interrupt
		perf_event_overflow watchdog_overflow_callback`)
	interrupted = set(`
		lapic_next_event native_apic\w* clockevents_\w+ _?_?hrtimer_\w+ irqentry_\w+ idtentry_\w+
		(?:asm_)?_?_?(?:sysvec|instr_sysvec)_\w+ asm_common_interrupt common_interrupt
		(?:__)?smp_\w*apic_\w+ \w*apic_timer_interrupt\w* asm_call_\w+ irqentry_exit\w* irq_exit\w*
		__irq_exit\w* _?_?run_(?:irq|sysvec)\w* el1_irq\w* el1h_64_irq\w* el1_interrupt gic_handle_irq
		handle_domain_irq generic_handle_(?:domain_)?irq\w* __handle_domain_irq handle_percpu_devid_irq
		call_on_irq_stack do_interrupt_handler arch_timer_\w+ do_IRQ ret_from_intr __irq_svc retint_\w+
		restore_regs_and_\w+ interrupt_entry trace_hardirqs_\w+ handle_irq\w* __do_irq timer_interrupt
		do_timer_interrupt`)
	softirq = set(`__do_softirq\w* handle_softirqs\w* do_softirq\w* _stext`)
	idle    = set(`
		cpu_startup_entry do_idle cpu_idle\w* default_idle\w* arch_cpu_idle native_safe_halt
		pv_native_safe_halt acpi_\w*idle\w* cpuidle_\w+`)
	grace = set(`rcu_gp_kthread rcu_gp_fqs_loop`)

	// What a task that waits is always in.
	sleeping = set(`
		console_lock __switch_to\w* context_switch io_schedule\w* wait_\w+ __wait_\w+ do_wait_\w+
		___wait_\w+ __down\w* down\w* rwsem_\w+ __rwsem_\w+ __rt_mutex_\w+ rt_mutex_\w+ ldsem_\w+
		percpu_(?:down|rwsem)\w* __percpu_\w+ bit_wait\w* out_of_line_wait\w* folio_wait_\w+
		__folio_lock\w* __lock_page\w* lock_page\w* do_read_cache_\w+ filemap_\w+ (?:__)?flush_work\w*
		flush_workqueue\w* __flush_workqueue drain_workqueue (?:__)?cancel_\w*work\w*
		kthread_(?:stop|park|flush_work\w*) jbd2_log_wait_commit __synchronize_\w+ exp_funnel_lock
		__wait_rcu_gp wait_rcu_gp do_down\w* _?_?filemap_fdatawait\w* usb_start_wait_urb
		tty_ldisc_lock\w* rcu_barrier\w* __bit_lock\w* futex_wait\w* __rela_dyn_\w* msleep\w* usleep\w*`)
)

// generic says whether a function is found in many bugs and guilty of none.
func generic(function string) bool {
	if reporting.MatchString(function) {
		return true
	}
	for _, s := range generics {
		if s.MatchString(function) {
			return true
		}
	}
	return false
}

// reporting are the functions that print the report, and the exceptions and
// interrupts that lead there.
var reporting = set(`
		_?_?dump_stack\w* show_\w+ __show_\w+ print_\w+ __print_\w+ warn_slowpath\w* __warn\w*
		report_bug\w* __report_bug\w* v?panic __panic dev_\w*printk\w*
		_?_?dev_(?:printk|emerg|alert|crit|err|warn|notice|info) va_format vscnprintf
		check_panic_on_warn die\w* __die\w* oops_\w+ v?printk\w* _printk bug_handler
		warn_bogus_irq_restore dump_header oom_kill_process out_of_memory dump_\w*backtrace\w*
		arch_stack_walk\w* stack_trace_\w+ (?:kasan_)?save_stack\w* unwind_\w+ __unwind_\w+
		walk_stackframe _?sched_show_task get_taint add_taint skb_panic skb_(?:over|under)_panic
		assertfail fortify_panic __fortify_\w+ __stack_chk_fail rust_\w*panic\w* rust_helper_BUG
		rust_begin_unwind _RNvNtCs\w*panic\w* _RNvNt\w*4core9panicking\w* __seqprop_assert
		__reiserfs_panic

		exc_\w+ asm_\w+ __exc_\w+ handle_(?:bug|exception|invalid_op|page_fault)\w* fixup_bug\w*
		do_(?:error_trap|invalid_op|trap\w*|page_fault\w*|kern_addr_fault|general_protection|double_fault|mem_abort|translation_fault|tag_check_fault|sea|bad_area|undefinstr|DataAbort|PrefetchAbort|el1_\w+|user_addr_fault|interrupt_handler|syscall_\w+)
		invalid_op page_fault\w* __do_page_fault __do_kernel_fault __do_user_fault __bad_area\w*
		bad_area\w* no_context page_fault_oops kernelmode_fixup_or_oops general_protection el1_\w+
		el1h_\w+ brk_handler bug_brk_handler call_break_hook ret_from_exception __und_\w+ __dabt_\w+
		__irq_\w+ error_(?:entry|code) common_exception\w* __x86_indirect_\w+ __x86_return_thunk
		(?:do_)?irq_exit\w* retint_\w+ debug_exception_\w+ trap_\w+ mem_fault\w*`)

var generics = []*regexp.Regexp{
	// Sanitizers and debug checks.
	set(`
		k[amc]san_\w+ __k[am]san_\w+ __asan_\w+ __hwasan_\w+ __msan_\w+ msan_\w+ __tsan_\w+
		__sanitizer_\w+ hwasan_\w+ check_memory_region\w* instrument_\w+ kfence_\w+ __kfence_\w+
		check_canary\w* ubsan_\w+ __ubsan_\w+ handle_overflow val_to_string debug_\w+ __debug_\w+
		check_(?:preemption_disabled|unmap|sync)\w* __this_cpu_preempt_check kmemleak_\w+ create_object
		__create_object lookup_object_or_alloc \w+_is_static_object usercopy_\w+
		__check_(?:object_size|heap_object) check_(?:heap_object|stack_object|object_size)
		report_usercopy ref_tracker_\w+ __might_\w+ ___might_\w+ might_\w+ bad_page
		(?:free|new|check|prep)_\w*page\w*_(?:prepare|check|bad|is_bad)\w* check_new_\w+ post_alloc_hook
		prep_new_page __set_page_owner get_page_from_freelist free_(?:unref|pcp|frozen)_\w+
		__free_frozen_pages object_err slab_err\w* check_object perf_trace_lock\w*
		perf_trace_contention\w* trace_contention\w*`),
	// Reference counts, lists, trees, bits.
	set(`
		refcount_\w+ __refcount_\w+ kref_\w+ __list_\w+ list_(?:add|del|move|splice)\w* hlist_\w+
		__hlist_\w+ klist_\w+ _?_?rb_\w+ ____rb_\w+ xas_\w+ xa_\w+ __xa_\w+ ida_\w+
		idr_(?:remove|find|destroy)\w* rhashtable_\w+ __rhashtable_\w+ rht_\w+ _atomic_\w+
		(?:raw_|arch_)?atomic\w* (?:arch_)?_?_?test_(?:and_\w+_)?bit\w* (?:arch_)?(?:set|clear)_bit\w*
		_?_?read_once\w* __read_once_word\w* read_word_at_a_time (?:__)?raw_read\w*
		__raw_(?:read|write)[bwlq] refcount\w* ref_\w+ find_(?:first|next)_\w+ lockref_\w+
		percpu_ref_\w+ bitmap_\w+`),
	// Strings, memory, copies, checksums.
	set(`
		_?_?_?mem(?:cpy|set|move|cmp|chr|scan|dup)\w* __pi_\w+
		str(?:len|cpy|ncpy|lcpy|scpy|cmp|ncmp|nlen|chr|str|nstr|lcat|sep|rchr|casecmp|ncasecmp|pbrk|nchr)\w*
		strscpy\w* sized_strscpy v?s[nc]*printf string\w* hex_\w+ pointer number
		_?_?copy_\w*(?:user|iter)\w* _?(?:in)?_?copy_(?:to|from)\w* rep_movs\w* rep_stos\w* __clear_user
		clear_user\w* copy_page\w* crc\w+ __crc\w+ csum_\w+ xxh\w+ sha\d+\w* aes\w*_(?:encrypt|decrypt)
		logic_(?:in|out)[bwl] simple_copy_to_iter __put_user\w* __get_user\w* _find_\w+`),
	// Allocation and freeing.
	set(`
		kfree\w* __kfree\w* (?:__)?do_kmalloc\w* _?_?kmalloc\w* ___?kmalloc\w* kzalloc\w* kcalloc\w*
		krealloc\w* __krealloc __do_krealloc _?_?kmem_cache_\w+ ___?slab_\w+ __slab_\w+ _?slab_\w+
		new_slab\w* allocate_slab deactivate_slab_\w+ do_slab_free kv?malloc\w* kv?m?alloc_array\w*
		__kvmalloc\w* kvfree\w* kvzalloc\w* _?_?v(?:m|z)alloc\w* vfree\w* __vunmap __vfree\w*
		__vmalloc\w* vmalloc\w* warn_alloc\w* free_large_kmalloc large_kmalloc\w* kmem_\w*alloc\w*
		(?:__)?alloc_pages\w* __alloc_(?:pages|percpu|frozen|size|large)\w* _?_?get_free_pages?\w*
		get_zeroed_page\w* (?:__)?free_pages?\w* __free_\w*page\w* alloc_page\w*
		(?:__)?folio_(?:alloc|unlock|put)\w* unlock_page ___free_pages\w* (?:v?mem)dup_user\w*
		kmemdup\w* kstrdup\w* kvmemdup\w* kasprintf kvasprintf\w* kmem_cache\w* mempool_\w+
		sock_(?:kmalloc|kzalloc) skb_(?:p(?:ush|ull|ut)|clone|copy) __skb_(?:pull|put|push) pskb_\w+
		slob_\w+ quarantine_\w+ qlist_\w+ __virt_to_phys __phys_addr\w* virt_to_\w+
		radix_tree_(?:lookup|delete|next)\w* pcpu_mem_zalloc devm_\w+ devres_\w+ release_nodes
		kcalloc_node\w* kmalloc_\w+ debug_dma_\w+ filemap_alloc_folio\w* _?_?page_pool_alloc\w*`),
	// Locks and waiting.
	set(`
		_?_?_?raw_\w*(?:spin|read|write)_\w*lock\w*
		(?:_?_?_?)?(?:spin|read|write)_(?:try)?(?:un)?lock\w* do_raw_\w+ native_queued_\w+ queued_\w+
		pv_\w+ __pv_\w+ reacquire_held_locks reiserfs_write_lock _?_?call_rcu\w* _?_?switch_to\w*
		_?_?task_rq_lock context_switch call_rwsem_\w+ __down\w* spin_(?:dump|bug) rwlock_bug rspin_bug
		lock_(?:acquire|release|downgrade|is_held|acquired|contended|set_class|pin_lock|unpin_lock|repin_lock)\w*
		__lock_\w+ register_lock_class look_up_lock_class hlock_class mark_lock\w* mark_\w*held_locks
		check_\w*(?:lock|prev|chain|noncircular|deadlock|wait_context|usage|irq_usage|path|flags)\w*
		validate_chain lockdep_\w+ __lockdep\w* trace_hardirqs_\w+ mutex_\w+ __mutex_\w+ ww_mutex_\w+
		rt_mutex_\w+ __rt_mutex\w* rt_spin_\w+ rt_(?:read|write)_\w+ task_blocks_on_rt_mutex osq_\w+
		up(?:_read|_write)? up_\w+ down(?:_read|_write)? down_\w+ __(?:up|down)_\w+ rwsem_\w+ ldsem_\w+
		__ldsem_\w+ percpu_(?:up|down)_\w+ srcu_\w*lock\w* __srcu_read\w*
		rcu_(?:read_lock|lock_\w+|read_unlock|preempt_\w+|note_\w+|is_watching)\w* lock_sock\w*
		lock_timer_base __local_bh_\w+ local_bh_\w+ _local_bh_\w+ preempt_(?:schedule|count)\w*
		_?_?schedule\w* schedule_\w+ _?_?cond_resched\w* wait_for_\w+ __wait_for_\w+ do_wait_for_\w+
		finish_wait prepare_to_wait\w* add_wait_queue\w*
		_?_?wake_up_?(?:common\w*|locked\w*|sync\w*|all|one|bit|key\w*|interruptible)? __wake_up\w*
		complete(?:_all)? swake_up\w* kick_process synchronize_srcu\w* __synchronize_\w+
		cleanup_srcu_struct kill_fasync plist_\w+`),
	// Timers and work.
	set(`
		_?_?(?:del|mod|add)_timer\w* try_to_del_timer\w* timer_delete\w* _?_?timer_delete\w*
		timer_shutdown\w* detach_\w+ enqueue_timer_\w+ __queue_(?:delayed_)?work
		queue_(?:delayed_)?work\w* insert_work _?_?try_to_del_timer\w* _?_?init_timer\w*
		mod_delayed_work\w* _?_?flush_(?:work|workqueue|delayed_work)\w* ___?flush_work\w*
		start_flush_work (?:__)?cancel_\w*work\w* drain_workqueue destroy_workqueue alloc_workqueue\w*
		try_to_grab_pending work_\w+ kthread_(?:stop|park|unpark)\w* process_one_work
		process_scheduled_works worker_thread kthread ret_from_\w+ call_timer_fn expire_timers
		__run_timers?\w* __flush_workqueue`),
	// The driver model and other life-cycle helpers: whoever called them.
	set(`
		_?_?kobject_\w+ device_(?:add|del|unregister|create|destroy|release|initialize|remove_\w+)\w*
		get_device_parent put_device get_device sysfs_\w+ add_uevent_var kset_\w+
		usb_(?:start_wait_urb|control_msg\w*|bulk_msg|interrupt_msg|internal_control_msg)
		usb_(?:kill|poison|anchor_empty|free|submit|unlink)_?\w*urbs?\w* rollback_registered\w*
		unregister_netdevice\w* unregister_netdev drop_nlink iput fast_dput dput mark_buffer_dirty
		proc_register _proc_mkdir proc_(?:mkdir|create)\w* module_put (?:seq_|v)?s?printf`),
}
