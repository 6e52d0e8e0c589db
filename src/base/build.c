/* The build-id note of the running program. */
#include <tapbox/build.h>

#include <link.h>
#include <pthread.h>
#include <string.h>

#include <tapbox/bytes.h>

enum {
    ID_MAX_BYTES = 64, /* 20 are usual */
    NOTE_ALIGN = 4
};

static char build_id[2 * ID_MAX_BYTES + 1];

static size_t
aligned(size_t len)
{
    return (len + NOTE_ALIGN - 1) / NOTE_ALIGN * NOTE_ALIGN;
}

static void
read_notes(const uint8_t *at, size_t len)
{
    while (len >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        size_t name, content;

        memcpy(&note, at, sizeof(note));
        name = aligned(note.n_namesz);
        content = aligned(note.n_descsz);
        if (name > len - sizeof(note) || content > len - sizeof(note) - name) {
            return;
        }
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof("GNU") &&
            memcmp(at + sizeof(note), "GNU", sizeof("GNU")) == 0 &&
            note.n_descsz <= ID_MAX_BYTES) {
            tb_hex(build_id, tb_bytes_of(at + sizeof(note) + name, note.n_descsz));
            return;
        }
        at += sizeof(note) + name + content;
        len -= sizeof(note) + name + content;
    }
}

/* The program itself comes first; the libraries behind it have ids of their own. */
static int
on_object(struct dl_phdr_info *info, size_t size TB_UNUSED, void *arg TB_UNUSED)
{
    for (size_t i = 0; i < info->dlpi_phnum && build_id[0] == '\0'; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];

        if (header->p_type == PT_NOTE) {
            /* where the program was loaded to: an address by arithmetic is what the ABI gives
             */
            read_notes((const uint8_t *)(info->dlpi_addr + header->p_vaddr), header->p_memsz);
        }
    }
    return 1; /* no more */
}

static void
load(void)
{
    (void)dl_iterate_phdr(on_object, NULL);
}

const char *
tb_build_id(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, load);
    return build_id;
}
