"""Texts on which a converted model is compared with its source: many scripts, and what splits text in odd ways."""

from __future__ import annotations

# What a vocabulary splits: spaces, numbers, contractions, code, marks, scripts with and without spaces, emoji.
SPLIT_TEXTS = (
    "The cellar door was open, and nobody had locked it since Tuesday.",
    "I'm sure they've said it's hers; we'll see, won't we? DON'T, she'd SAY'S.",
    "  two spaces,\ta tab,\t\ttwo tabs\n\n\nthree newlines \r\nand a carriage return   ",
    "3 33 333 3333 33333 333333 3333333 1,234,567.89 0x1F 10^-3 12:45 2026-11-22",
    "for (int i = 0; i < n; ++i) { total += rows[i].value * 1.5e-3; } // done\n\treturn total;",
    "def area(width_mm, height_mm):\n    return width_mm * height_mm  # square millimetres\n",
    "e-mail: anna.lee+test@example.org, https://example.org/a?b=c&d=%20e#f",
    "Überprüfung der Geräte: größer, höher, weiß – für 3,50 € je Stück („gut“).",
    "Où est-ce qu'il l'a laissé, l'été dernier ? À côté de la fenêtre, peut-être…",
    "El año pasado, ¿quién vigilaba la bodega? ¡Nadie! Ni siquiera el dueño.",
    "В подвале стоял старый сервер, и никто не помнил, кто его туда принёс.",
    "Máy chủ đặt dưới hầm, dữ liệu không bao giờ rời khỏi toà nhà.",
    "เซิร์ฟเวอร์อยู่ในห้องใต้ดิน ข้อมูลไม่เคยออกจากอาคาร",
    "الخادم في القبو، ولا تغادر البيانات المبنى أبدًا. رقم ٤٥٦٧٨",
    "השרת נמצא במרתף והנתונים לא עוזבים את הבניין.",
    "服务器放在地下室里，数据从不离开这栋楼。编号：2026年第17号",
    "サーバーは地下室にあり、データは建物の外に出ません。",
    "서버는 지하실에 있고 데이터는 건물을 떠나지 않습니다.",
    "सर्वर तहखाने में है और डेटा इमारत से बाहर नहीं जाता।",
    "🙂🙃 👩‍🔧🧰 ✅❌ ½ ∑ ≤ ≠ → … — “ ” ‘ ’ ™ ©",
    "aaaaaaaaaaaaaaaaaaaaaaaa!!!!!!!!??????------======______",
)  # fmt: skip

# What a model goes on with, or embeds.
PROMPTS = (
    "The cellar door was open, and",
    "To install the pump, first",
    "服务器放在地下室里，",
    "El año pasado, la bodega",
    "def area(width_mm, height_mm):\n",
    "Please summarise the following report in one sentence: The boiler was inspected on Monday.",
)
